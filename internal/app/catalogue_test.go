package app_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/app"
)

var update = flag.Bool("update", false, "write testdata/catalogue.golden anew")

// TestCatalogue compares the table of operations with the file that reviews
// look at: what a caller can do is changed on purpose only.
func TestCatalogue(t *testing.T) {
	golden := filepath.Join("testdata", "catalogue.golden")
	got := app.Table(nil).Catalogue()
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v (go test -run TestCatalogue -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the operations differ from %s (- file, + program); if that is meant, run go test -run TestCatalogue -update\n%s", golden, diff)
	}
}

// TestActions: actions stand under their product's prefix, and no action of
// ours falls under kms:List* and kms:Describe*, which owners give out freely.
func TestActions(t *testing.T) {
	official := map[string]bool{"kms:DescribeRegions": true, "kms:DescribeSecret": true, "kms:ListSecrets": true, "kms:ListSecretVersionIds": true}
	for _, op := range app.Table(nil).Operations() {
		if !strings.HasPrefix(op.Action, op.Product.ActionPrefix+":") {
			t.Errorf("%s has the action %s, want one of %s:", op.Name, op.Action, op.Product.ActionPrefix)
		}
		if lower := strings.ToLower(op.Action); (strings.HasPrefix(lower, "kms:list") || strings.HasPrefix(lower, "kms:describe")) && !official[op.Action] {
			t.Errorf("%s is matched by kms:List* or kms:Describe*, but is no operation of the official API", op.Action)
		}
	}
}
