package compat

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// catalogueFile is the server's own list of its operations, which is under
// review with every change.
const catalogueFile = "../internal/app/testdata/catalogue.golden"

// operation is one entry of the catalogue.
type operation struct {
	product, name string
	in, out       []string
}

// catalogue reads the golden file: a line "product version Name", then lines
// that begin with "  in  " and "  out ", the names marked ! (required) and *
// (confidential).
func catalogue(t *testing.T) []operation {
	t.Helper()
	f, err := os.Open(catalogueFile)
	if os.IsNotExist(err) {
		t.Skipf("the catalogue of operations %s is absent", catalogueFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []operation
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 3 && !strings.HasPrefix(lines.Text(), " "):
			out = append(out, operation{product: words[0], name: words[2]})
		case len(words) == 2 && words[1] == "-": // no fields
		case len(words) > 0 && words[0] == "in":
			for _, w := range words[1:] {
				out[len(out)-1].in = append(out[len(out)-1].in, strings.TrimRight(w, "!*"))
			}
		case len(words) > 0 && words[0] == "out":
			out[len(out)-1].out = words[1:]
		}
	}
	return out
}

// lacking are fields that an SDK has and the server has not, with the reason.
var lacking = map[string]string{
	// Parts of secrets that are rotated, or kept in a KMS instance.
	"kms CreateSecret out AutomaticRotation": "rotated secrets only",
	"kms CreateSecret out ExtendedConfig":    "rotated secrets only",
	"kms CreateSecret out NextRotationDate":  "rotated secrets only",
	"kms CreateSecret out RotationInterval":  "rotated secrets only",
	"kms CreateSecret out DKMSInstanceId":    "secrets in a KMS instance only",

	"kms DescribeSecret out ExtendedConfig":   "rotated secrets only",
	"kms DescribeSecret out LastRotationDate": "rotated secrets only",
	"kms DescribeSecret out NextRotationDate": "rotated secrets only",
	"kms DescribeSecret out RotationInterval": "rotated secrets only",
	"kms DescribeSecret out DKMSInstanceId":   "secrets in a KMS instance only",
	"kms DescribeSecret out EncryptionKeyId":  "secrets under a key of the account only",

	"kms GetSecretValue out AutomaticRotation": "rotated secrets only",
	"kms GetSecretValue out ExtendedConfig":    "rotated secrets only",
	"kms GetSecretValue out LastRotationDate":  "rotated secrets only",
	"kms GetSecretValue out NextRotationDate":  "rotated secrets only",
	"kms GetSecretValue out RotationInterval":  "rotated secrets only",
}

// own are fields that the server has and an SDK has not, with the reason.
var own = map[string]string{
	"kms CreateSecret in ProductResourceArn": "of managing sessions, through any generic client",
	"kms CreateSecret in ManageUrl":          "of managing sessions, through any generic client",
	"kms DescribeSecret out HostingMode":     "of default secrets",
	"kms DescribeSecret out ManageUrl":       "of default secrets",
	"kms DescribeSecret out Creator":         "in the public documentation",
	"kms DescribeSecret out OwingService":    "newer than the classic SDK",
	"sts AssumeRole in SourceIdentity":       "newer than the classic SDK",
	"sts AssumeRole out SourceIdentity":      "newer than the classic SDK",
	"ram CreatePolicy in Tag":                "newer than the classic SDK",
	"ram CreateRole in Tag":                  "newer than the classic SDK",
	"ram DeletePolicy in CascadingDelete":    "newer than the classic SDK",
}

// TestFields compares the names of parameters and answers of each operation
// with those of both SDKs' types.
func TestFields(t *testing.T) {
	ops := catalogue(t)
	used := map[string]bool{}
	compared := 0
	for _, op := range ops {
		for _, s := range []struct {
			name, tag string
			in, out   reflect.Type
		}{
			{"the current SDK", "json", (&newSDK{}).requestShape(op.product, op.name), (&newSDK{}).shape(op.product, op.name)},
			{"the classic SDK", "name", (&classicSDK{}).requestShape(op.product, op.name), (&classicSDK{}).shape(op.product, op.name)},
		} {
			if s.out == nil {
				continue // the SDK has no package for the product
			}
			compared++
			compare(t, used, op, s.name, "in", op.in, names(s.in, s.tag))
			compare(t, used, op, s.name, "out", op.out, names(s.out, "json"))
		}
	}
	if want := 2*11 + 17; compared < want {
		t.Errorf("%d operations were compared, want %d: does the catalogue hold them all?", compared, want)
	}
	for _, list := range []map[string]string{lacking, own} {
		for entry, reason := range list {
			if !used[entry] {
				t.Errorf("%s (%s) is not needed in the list", entry, reason)
			}
		}
	}
}

func compare(t *testing.T, used map[string]bool, op operation, who, direction string, ours, theirs []string) {
	t.Helper()
	check := func(a, b []string, allowed map[string]string, complaint string) {
		for _, name := range a {
			if slices.Contains(b, name) {
				continue
			}
			entry := fmt.Sprintf("%s %s %s %s", op.product, op.name, direction, name)
			if allowed[entry] == "" {
				t.Errorf("%s: %s, %s", entry, who, complaint)
			}
			used[entry] = true
		}
	}
	check(theirs, ours, lacking, "has it and the server has not")
	check(ours, theirs, own, "does not have it")
}

// names are the wire names of a type's own fields.
func names(t reflect.Type, tag string) []string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get(tag), ",")
		if name != "" && name != "RequestId" {
			out = append(out, name)
		}
	}
	return out
}
