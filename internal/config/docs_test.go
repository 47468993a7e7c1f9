package config_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

const preamble = "# Configuration\n\n" +
	"`sesame server` starts without a configuration file: every default is meant to be\n" +
	"good. `sesame server --config FILE` reads one YAML file; the flags `--data` and\n" +
	"`--listen` stand above it. [deploy/sesame.yaml](../deploy/sesame.yaml) is an example.\n\n" +
	"The file is read strictly: a key that does not exist, a key that is given twice\n" +
	"and a value of another kind are errors, and each is told with its line.\n" +
	"`sesame check-config FILE` prints `ok`, or every error, and starts nothing.\n\n" +
	"Durations have a unit (`500ms`, `2s`), sizes too (`64MiB`). Aliases and merged keys\n" +
	"of YAML are not read. Changes count from the next start on, but for the content of\n" +
	"the certificate files.\n\n" +
	"This page is made from the comments in the source by\n" +
	"`go test ./internal/config -run TestDocs -update`.\n"

type key struct{ name, doc string }

// keys reads the keys of the file and what the comments of their fields say
// from the source of the struct.
func keys(t testing.TB) []key {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]*ast.StructType{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if s, ok := spec.Type.(*ast.StructType); ok {
				structs[spec.Name.Name] = s
			}
		}
		return true
	})
	var out []key
	var walk func(prefix string, s *ast.StructType)
	walk = func(prefix string, s *ast.StructType) {
		for _, f := range s.Fields.List {
			if f.Tag == nil {
				t.Fatalf("a field below %q has no name in the file", prefix)
			}
			name := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml")
			if name == "-" {
				continue
			}
			doc := strings.TrimSpace(f.Doc.Text())
			if doc == "" {
				t.Errorf("%s%s is not documented", prefix, name)
			}
			if id, ok := f.Type.(*ast.Ident); ok && structs[id.Name] != nil {
				walk(prefix+name+".", structs[id.Name])
				continue
			}
			if !strings.Contains(doc, "Default") && !strings.Contains(doc, "Required") {
				t.Errorf("the comment of %s%s names no default", prefix, name)
			}
			doc = strings.Replace(doc, f.Names[0].Name+" ", "`"+name+"` ", 1)
			out = append(out, key{prefix + name, doc})
		}
	}
	walk("", structs["Config"])
	return out
}

// TestDocs compares docs/configuration.md with the comments of the struct.
func TestDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString(preamble)
	for _, k := range keys(t) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", k.name, k.doc)
	}
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(have)); diff != "" {
		t.Errorf("docs/configuration.md is not what the struct says; run this test with -update (-want +have):\n%s", diff)
	}
}
