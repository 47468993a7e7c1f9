package secrets

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

type listSecretsInput struct {
	FetchTags  bool    `param:"FetchTags"`
	PageNumber int     `param:"PageNumber,default=1,min=1"`
	PageSize   int     `param:"PageSize,default=10,min=1,max=100"`
	Filters    Filters `param:"Filters"`
}

type secretItem struct {
	SecretName        string
	SecretType        string
	CreateTime        string
	UpdateTime        string
	PlannedDeleteTime string    `wire:"omitempty"`
	OwingService      string    `wire:"omitempty"`
	HostingMode       string    `wire:"omitempty"`
	ManageUrl         string    `wire:"omitempty"`
	Tags              *wireTags `wire:"omitempty"`
}

type secretList struct{ Secret []secretItem }

type listSecretsOutput struct {
	PageNumber, PageSize, TotalCount int
	SecretList                       secretList
}

func (s *Service) listSecrets() rpc.Op[listSecretsInput, listSecretsOutput] {
	return rpc.Op[listSecretsInput, listSecretsOutput]{
		Name: "ListSecrets", Class: throttle.SecretList,
		Targets: func(c *rpc.Call, _ *listSecretsInput) ([]access.Target, error) {
			return []access.Target{{
				Action: c.Info.Action, Account: c.Account(), Items: true,
				Resources: []arn.ARN{arn.SecretContainer(c.Region, c.Account())},
			}}, nil
		},
		Func: s.doList,
	}
}

// doList returns the secrets that the caller may see, newest first. Who is
// allowed on the container sees all but those that a Deny hides; others see
// the ones that they are allowed on by name.
func (s *Service) doList(ctx context.Context, c *rpc.Call, in *listSecretsInput) (*listSecretsOutput, error) {
	may, err := c.Visible()
	if err != nil {
		return nil, err
	}
	var found []*store.Secret
	var failed error
	seen := 0
	err = store.Secrets.Scan(c.View, store.KMSPrefix(c.Region, c.Account()), func(_ string, sec *store.Secret) bool {
		// Many secrets times many statements of policies can be the work of
		// minutes; it ends with the request's time.
		if seen++; seen%256 == 0 && ctx.Err() != nil {
			failed = apierr.Unavailable.Because(ctx.Err())
			return false
		}
		if !in.Filters.match(sec) {
			return true
		}
		var t *access.Target
		if t, failed = visible(c, sec); failed == nil && may(t) {
			found = append(found, sec)
		}
		return failed == nil
	})
	if err = cmp.Or(failed, err); err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b *store.Secret) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.Name, b.Name))
	})
	out := &listSecretsOutput{PageNumber: in.PageNumber, PageSize: in.PageSize, TotalCount: len(found)}
	for _, sec := range page(found, in.PageNumber, in.PageSize) {
		out.SecretList.Secret = append(out.SecretList.Secret, item(sec, in.FetchTags))
	}
	return out, nil
}

func item(sec *store.Secret, tags bool) secretItem {
	d := describeAnswer(sec, tags)
	return secretItem{
		SecretName: d.SecretName, SecretType: d.SecretType, CreateTime: d.CreateTime, UpdateTime: d.UpdateTime,
		PlannedDeleteTime: d.PlannedDeleteTime, OwingService: d.OwingService, HostingMode: d.HostingMode,
		ManageUrl: d.ManageUrl, Tags: d.Tags,
	}
}

// page cuts one page, counted from 1, out of a list; past the end it is empty.
func page[T any](list []T, number, size int) []T {
	if number-1 > len(list)/size {
		return nil
	}
	from := (number - 1) * size
	return list[min(from, len(list)):min(from+size, len(list))]
}

// Filters narrow a list: [{"Key":"SecretName","Values":["mcp!"]}]. Values of
// one entry are alternatives; a secret must match every entry.
type Filters []filter

type filter struct {
	Key    string
	Values []string
	match  func(sec *store.Secret, value string) bool
}

// filterKeys says how each key matches: names by prefix, as one looks for
// default secrets, descriptions by a part, all else exactly.
var filterKeys = map[string]func(sec *store.Secret, value string) bool{
	"SecretName":  func(s *store.Secret, v string) bool { return strings.HasPrefix(s.Name, v) },
	"Description": func(s *store.Secret, v string) bool { return strings.Contains(s.Description, v) },
	"TagKey": func(s *store.Secret, v string) bool {
		return slices.ContainsFunc(s.Tags, func(t store.Tag) bool { return t.Key == v })
	},
	"TagValue": func(s *store.Secret, v string) bool {
		return slices.ContainsFunc(s.Tags, func(t store.Tag) bool { return t.Value == v })
	},
	"DKMSInstanceId": func(*store.Secret, string) bool { return false },
	"SecretType":     func(s *store.Secret, v string) bool { return strings.EqualFold(s.Type, v) },
	"Creator":        func(s *store.Secret, v string) bool { return s.Creator == v },
	"OwingService":   func(s *store.Secret, v string) bool { return owningService(s) == v },
	"HostingMode":    func(s *store.Secret, v string) bool { return hostingMode(s) == v },
}

// BindParam reads the list: at most 10 entries with 0 to 10 values each.
func (f *Filters) BindParam(text string) error {
	if err := json.Unmarshal([]byte(text), (*[]filter)(f)); err != nil || *f == nil {
		return rpc.BadParam{Fault: rpc.Format, Why: `want a JSON list such as [{"Key":"SecretName","Values":["mcp!"]}]`}
	}
	if len(*f) > 10 {
		return rpc.BadParam{Fault: rpc.Length, Why: "it has at most 10 entries"}
	}
	for i := range *f {
		e := &(*f)[i]
		if e.match = filterKeys[e.Key]; e.match == nil {
			return rpc.BadParam{Fault: rpc.Value, Why: "a Key is unknown; the keys are SecretName, Description, TagKey, TagValue, DKMSInstanceId, SecretType, Creator, OwingService, HostingMode"}
		}
		if len(e.Values) > 10 {
			return rpc.BadParam{Fault: rpc.Length, Why: "an entry has at most 10 values"}
		}
	}
	return nil
}

// match reports whether the secret passes. An entry without values narrows
// nothing.
func (f Filters) match(sec *store.Secret) bool {
	for i := range f {
		e := &f[i]
		if len(e.Values) > 0 && !slices.ContainsFunc(e.Values, func(v string) bool { return e.match(sec, v) }) {
			return false
		}
	}
	return true
}
