package secrets

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

const (
	maxName       = 192 // characters
	maxHanzi      = 64  // of which Chinese
	maxIdentifier = 150 // characters of a default secret's identifier
)

// productCode is the part of a default secret's name before the "!".
var productCode = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Name is the name of a secret: up to 192 characters of letters, digits,
// _/+=.@- and Chinese characters (64 of these); or a default secret's,
// <code>!<identifier>.
type Name string

// BindParam checks the name.
func (n *Name) BindParam(text string) error {
	*n = Name(text)
	return n.check()
}

func (n Name) check() error {
	text := string(n)
	if utf8.RuneCountInString(text) > maxName {
		return rpc.BadParam{Fault: rpc.Length, Why: "a name has at most 192 characters"}
	}
	code, id, isDefault := strings.Cut(text, "!")
	if !isDefault {
		if strings.HasPrefix(text, "acs/") {
			return rpc.BadParam{Fault: rpc.Value, Why: "names that begin with acs/ are reserved"}
		}
		return ordinary(text)
	}
	switch {
	case !productCode.MatchString(code):
		return rpc.BadParam{Fault: rpc.Chars, Why: "before the ! stands a product code of lower-case letters, digits and hyphens, 32 at most"}
	case id == "" || strings.Contains(id, "!"):
		return rpc.BadParam{Fault: rpc.Chars, Why: "a default secret is named <ProductCode>!<SecretIdentifier>, with one !"}
	case utf8.RuneCountInString(id) > maxIdentifier:
		return rpc.BadParam{Fault: rpc.Length, Why: "a secret identifier has at most 150 characters"}
	}
	return ordinary(id)
}

// ordinary checks the characters of a name.
func ordinary(text string) error {
	hanzi := 0
	for _, r := range text {
		switch {
		case nameRune(r):
		case unicode.Is(unicode.Han, r):
			hanzi++
		default:
			return rpc.BadParam{Fault: rpc.Chars, Why: "a name consists of letters, digits, Chinese characters and _/+=.@-"}
		}
	}
	if hanzi > maxHanzi {
		return rpc.BadParam{Fault: rpc.Length, Why: "a name has at most 64 Chinese characters"}
	}
	return nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < utf8.RuneSelf && strings.ContainsRune("_/+=.@-", r)
}

// Ref is a secret as a request names it: a bare name, of the caller's account,
// or a full ARN.
type Ref struct {
	Region, Account string // empty for a bare name
	Name            string
}

// Region and account in an ARN. Both are compared with the patterns of policies
// and written into records before anybody knows whether they exist, so what
// they may be is bounded here.
var (
	arnRegion  = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	arnAccount = regexp.MustCompile(`^[0-9]{1,20}$`)
)

// BindParam reads a name or an ARN.
func (r *Ref) BindParam(text string) error {
	if !arn.IsARN(text) {
		r.Name = text
		return Name(text).check()
	}
	a, err := arn.Parse(text)
	if err != nil || a.Service != "kms" || a.Type() != "secret" || a.Name() == "" || a.Region == "" || a.Account == "" {
		return rpc.BadParam{Fault: rpc.Format, Why: "want a secret's name or acs:kms:<region>:<account>:secret/<name>"}
	}
	if !arnRegion.MatchString(a.Region) || !arnAccount.MatchString(a.Account) {
		return rpc.BadParam{Fault: rpc.Format, Why: "the region or account of the ARN is wrongly formed"}
	}
	*r = Ref{Region: a.Region, Account: a.Account, Name: a.Name()}
	return Name(r.Name).check()
}

// VersionID names a version: 1 to 64 printable characters.
type VersionID string

// BindParam checks the id.
func (v *VersionID) BindParam(text string) error {
	*v = VersionID(text)
	if utf8.RuneCountInString(text) > 64 {
		return rpc.BadParam{Fault: rpc.Length, Why: "a version id has at most 64 characters"}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return rpc.BadParam{Fault: rpc.Chars, Why: "a version id consists of printable characters"}
	}
	return nil
}

// Stage is a stage label: 1 to 64 characters of those that names may have.
type Stage string

// BindParam checks the label.
func (s *Stage) BindParam(text string) error {
	*s = Stage(text)
	return checkStage(text)
}

func checkStage(text string) error {
	if text == "" || len(text) > 64 {
		return rpc.BadParam{Fault: rpc.Length, Why: "a stage label has 1 to 64 characters"}
	}
	for _, r := range text {
		if !nameRune(r) {
			return rpc.BadParam{Fault: rpc.Chars, Why: "a stage label consists of letters, digits and _/+=.@-"}
		}
	}
	return nil
}

// Stages is the list of labels for a new version: a JSON list, the older form
// {"VersionStage":[…]}, or labels separated by commas.
type Stages []string

// BindParam reads and checks the list. A version cannot be stored as the
// previous one, and no label may be given twice.
func (s *Stages) BindParam(text string) error {
	list, ok := parseStages(text)
	if !ok || len(list) == 0 {
		return rpc.BadParam{Fault: rpc.Format, Why: `want a JSON list of labels such as ["ACSCurrent"]`}
	}
	seen := map[string]bool{}
	for _, l := range list {
		if err := checkStage(l); err != nil {
			return err
		}
		if l == stagePrevious {
			return rpc.BadParam{Fault: rpc.Value, Why: "ACSPrevious moves by itself and cannot be given to a new version"}
		}
		if seen[l] {
			return rpc.BadParam{Fault: rpc.Value, Why: "a label is given twice"}
		}
		seen[l] = true
	}
	*s = list
	return nil
}

func parseStages(text string) ([]string, bool) {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(text, "["):
		var list []string
		err := json.Unmarshal([]byte(text), &list)
		return list, err == nil
	case strings.HasPrefix(text, "{"):
		var old struct{ VersionStage []string }
		err := json.Unmarshal([]byte(text), &old)
		return old.VersionStage, err == nil
	default:
		list := strings.Split(text, ",")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list, true
	}
}

// DataType says whether a value is text or binary. It changes nothing about
// how the value is kept: binary values travel as text too.
type DataType string

// BindParam checks the type.
func (d *DataType) BindParam(text string) error {
	if text != "text" && text != "binary" {
		return rpc.BadParam{Fault: rpc.Value, Why: "want text or binary"}
	}
	*d = DataType(text)
	return nil
}

// Type is one of the API's types of secrets.
type Type string

// generic is the type of secrets that no cloud has to rotate.
const generic Type = "Generic"

// BindParam checks the type.
func (t *Type) BindParam(text string) error {
	switch *t = Type(text); *t {
	case generic, "Rds", "Redis", "RAMCredentials", "ECS", "PolarDB":
		return nil
	}
	return rpc.BadParam{Fault: rpc.Value, Why: "want Generic"}
}

// Data is a secret's value: 1 to 30,720 bytes.
type Data = mask.Text

// Tags are given as [{"TagKey":"…","TagValue":"…"}], 20 at most.
type Tags []store.Tag

var tagText = regexp.MustCompile(`^[A-Za-z0-9/\\_\-.+=:@]*$`)

// BindParam reads and checks the list.
func (t *Tags) BindParam(text string) error {
	var list []struct{ TagKey, TagValue string }
	if err := json.Unmarshal([]byte(text), &list); err != nil || list == nil {
		return rpc.BadParam{Fault: rpc.Format, Why: `want a JSON list such as [{"TagKey":"k","TagValue":"v"}]`}
	}
	if len(list) > maxTags {
		return apierr.LimitExceeded.Msg("A secret has at most %d tags.", maxTags)
	}
	seen := map[string]bool{}
	for _, p := range list {
		if err := checkTag(p.TagKey, p.TagValue); err != nil {
			return err
		}
		if seen[p.TagKey] {
			return apierr.DuplicateTagKey
		}
		seen[p.TagKey] = true
		*t = append(*t, store.Tag{Key: p.TagKey, Value: p.TagValue})
	}
	return nil
}

func checkTag(key, value string) error {
	switch {
	case key == "" || len(key) > 128 || !tagText.MatchString(key):
		return apierr.InvalidTagKey.Msg(`A tag key has 1 to 128 characters of letters, digits and /\_-.+=:@.`)
	case strings.HasPrefix(key, "aliyun") || strings.HasPrefix(key, "acs:"):
		return apierr.InvalidTagKey.Msg("A tag key cannot begin with aliyun or acs:.")
	case len(value) > 128 || !tagText.MatchString(value):
		return apierr.InvalidTagValue.Msg(`A tag value has at most 128 characters of letters, digits and /\_-.+=:@.`)
	}
	return nil
}

// JSONText is a parameter that must be a JSON object; it is kept as it came.
type JSONText string

// BindParam checks that it is a JSON object of at most 1,024 characters.
func (j *JSONText) BindParam(text string) error {
	if utf8.RuneCountInString(text) > 1024 {
		return rpc.BadParam{Fault: rpc.Length, Why: "it has at most 1024 characters"}
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return rpc.BadParam{Fault: rpc.Format, Why: "want a JSON object"}
	}
	*j = JSONText(text)
	return nil
}

// Interval is a rotation interval such as 7d: 6 to 8,760 hours.
type Interval string

// BindParam checks the interval.
func (i *Interval) BindParam(text string) error {
	bad := rpc.BadParam{Fault: rpc.Format, Why: "want a whole number followed by d, h, m or s, from 6h to 8760h"}
	unit := map[byte]uint64{'d': 86400, 'h': 3600, 'm': 60, 's': 1}[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32) // which takes no sign
	if err != nil || unit == 0 || n*unit < 6*3600 || n*unit > 8760*3600 {
		return bad
	}
	*i = Interval(text)
	return nil
}

// ManageURL tells where a product's secret is managed: https, at most 2,048
// characters.
type ManageURL string

// BindParam checks the URL.
func (m *ManageURL) BindParam(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(text) > 2048 {
		return rpc.BadParam{Fault: rpc.Format, Why: "want an https URL of at most 2048 characters"}
	}
	*m = ManageURL(text)
	return nil
}

// ResourceARN names the product's own resource that a secret belongs to.
type ResourceARN string

// BindParam checks the ARN's form and length.
func (r *ResourceARN) BindParam(text string) error {
	if _, err := arn.Parse(text); err != nil || len(text) > 1024 {
		return rpc.BadParam{Fault: rpc.Format, Why: "want acs:<service>:<region>:<account>:<resource>, at most 1024 characters"}
	}
	*r = ResourceARN(text)
	return nil
}
