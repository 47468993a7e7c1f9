package record

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestSplit: every account is told, in records that are not cut and that are
// told apart.
func TestSplit(t *testing.T) {
	r := &Record{RequestID: "R", Operation: "CreateServiceCredential", UserAgent: strings.Repeat("u", 2000)}
	for i := range 250 {
		r.Accounts = append(r.Accounts, fmt.Sprintf("1%015d", i))
	}
	var all []string
	for i, part := range r.Split(100) {
		b, err := part.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unmarshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Part != uint64(i) || got.Truncated || got.Operation != r.Operation {
			t.Errorf("part %d: number %d, truncated %v", i, got.Part, got.Truncated)
		}
		all = append(all, got.Accounts...)
	}
	if !slices.Equal(all, r.Accounts) {
		t.Errorf("%d accounts are told, want %d", len(all), len(r.Accounts))
	}
	if one := r.Split(250); len(one) != 1 || one[0] != r {
		t.Error("a record that need not be split was split")
	}
}
