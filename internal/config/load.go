package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Load reads a config file. The error joins everything that is wrong with it,
// each with its line and key: keys that are unknown or given twice, values of
// the wrong type, values that make no sense. What a server needs besides (that
// the data folder can be opened, that the certificate can be read) is not
// looked at.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("the config file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("the config file: %w", err)
	}
	c, errs := Parse(text)
	for i, err := range errs {
		errs[i] = fmt.Errorf("%s: %w", path, err)
	}
	return c, errors.Join(errs...)
}

// Parse is Load for the content of a file; it returns every error by itself.
func Parse(text []byte) (Config, []error) {
	var c Config
	if len(text) > maxFile {
		return c, []error{fmt.Errorf("the file is larger than %d bytes", maxFile)}
	}
	root, err := document(text)
	if err != nil {
		return c, []error{err}
	}
	d := decoder{lines: map[string]int{}}
	d.mapping("", root, reflect.ValueOf(&c).Elem())
	switch c.APIVersion {
	case APIVersion:
	case "":
		if d.lines["apiVersion"] == 0 {
			d.errs = append(d.errs, fmt.Errorf("apiVersion is missing: write apiVersion: %s", APIVersion))
		}
	default:
		d.fail("apiVersion", d.lines["apiVersion"], "%q is not known: this release reads %s", c.APIVersion, APIVersion)
	}
	if len(d.errs) > 0 {
		return c, d.errs
	}
	c.defaults()
	for _, p := range c.check() {
		d.fail(p.key, d.line(p.key), "%w", p.err)
	}
	return c, d.errs
}

// document returns the mapping that is the only document of the text.
func document(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the file is empty: it begins with apiVersion: %s", APIVersion)
	}
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one document")
	}
	return doc.Content[0], nil
}

// decoder fills the struct from the tree of a document and collects all that
// is wrong. It knows no more of YAML than the struct needs: mappings, lists of
// text and plain values; no aliases, no merging, no tags.
type decoder struct {
	lines map[string]int // of each key, by its path
	errs  []error
}

func (d *decoder) fail(key string, line int, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if key != "" {
		err = fmt.Errorf("%s: %w", key, err)
	}
	if line > 0 {
		err = fmt.Errorf("line %d: %w", line, err)
	}
	d.errs = append(d.errs, err)
}

// line is that of the key or of the mapping that it stands in.
func (d *decoder) line(key string) int {
	for key != "" {
		if n := d.lines[key]; n > 0 {
			return n
		}
		key = key[:max(0, strings.LastIndexByte(key, '.'))]
	}
	return 0
}

func (d *decoder) mapping(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && path != "" {
		return // a heading with everything below it commented out
	}
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		d.fail(path, n.Line, "here keys with values are expected")
		return
	}
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "-" {
			fields[name] = v.Field(i)
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		full := key.Value
		if path != "" {
			full = path + "." + key.Value
		}
		field, known := fields[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			d.fail(full, key.Line, "there is no such key")
		case d.lines[full] > 0:
			d.fail(full, key.Line, "it is given a second time; the first is in line %d", d.lines[full])
		default:
			d.lines[full] = key.Line
			d.value(full, value, field)
		}
	}
}

func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	parser, special := v.Addr().Interface().(interface{ parse(string) error })
	switch {
	case !special && v.Kind() == reflect.Struct:
		d.mapping(path, n, v)
	case v.Kind() == reflect.Slice:
		d.list(path, n, v)
	case n.Kind != yaml.ScalarNode || n.Anchor != "":
		d.fail(path, n.Line, "here one value is expected")
	case n.Tag == "!!null":
		d.fail(path, n.Line, "it has no value; leave the key out for its default")
	case special:
		if err := parser.parse(n.Value); err != nil {
			d.fail(path, n.Line, "%w", err)
		}
	case v.Type() == reflect.TypeFor[time.Duration]():
		t, err := time.ParseDuration(n.Value)
		if err != nil {
			d.fail(path, n.Line, "%q is no duration such as 500ms or 2s", n.Value)
			return
		}
		v.SetInt(int64(t))
	case v.Kind() == reflect.String && n.Tag == "!!str":
		v.SetString(n.Value)
	case v.Kind() == reflect.Bool && n.Tag == "!!bool":
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.Kind() == reflect.Bool:
		d.fail(path, n.Line, "%q is neither true nor false", n.Value)
	default:
		d.fail(path, n.Line, "%q is no text; put it into quotes if it is meant", n.Value)
	}
}

// list reads a list of texts.
func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode || n.Anchor != "" {
		d.fail(path, n.Line, "here a list is expected")
		return
	}
	for _, item := range n.Content {
		one := reflect.New(v.Type().Elem()).Elem()
		before := len(d.errs)
		d.value(path, item, one)
		if len(d.errs) == before {
			v.Set(reflect.Append(v, one))
		}
	}
}
