package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// node is a JSON value with its place in the text. The standard decoder is not
// used on structs, because it lets duplicate keys, keys in another case and
// unknown keys of maps through: a reviewer would read one document and the
// server obey another.
type node struct {
	at      int  // byte offset in the text
	kind    byte // '{', '[', 's' string, 'n' number, 'b' boolean, '0' null
	text    string
	members []member
	items   []node
}

type member struct {
	at    int
	key   string
	value node
}

// maxDepth is deeper than any document needs: object, statements, statement,
// Condition, operator, values.
const maxDepth = 8

type reader struct {
	text string
	dec  *json.Decoder
}

// readJSON reads the one JSON value that text must be.
func readJSON(text string) (node, *SyntaxError) {
	// The whole is checked first: the token reader alone is laxer.
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		at := 0
		if s := new(json.SyntaxError); errors.As(err, &s) {
			at = int(s.Offset) - 1
		}
		return node{}, fault(at, "", "The document is not valid JSON: %v.", err)
	}
	r := &reader{text: text, dec: json.NewDecoder(strings.NewReader(text))}
	r.dec.UseNumber()
	return r.value("", 0)
}

func (r *reader) value(path string, depth int) (node, *SyntaxError) {
	at := r.start()
	tok, err := r.dec.Token()
	if err != nil {
		return node{}, fault(at, path, "The document is not valid JSON: %v.", err)
	}
	switch t := tok.(type) {
	case string:
		return node{at: at, kind: 's', text: t}, nil
	case json.Number:
		return node{at: at, kind: 'n', text: t.String()}, nil
	case bool:
		return node{at: at, kind: 'b', text: fmt.Sprint(t)}, nil
	case nil:
		return node{at: at, kind: '0', text: "null"}, nil
	}
	if depth == maxDepth {
		return node{}, fault(at, path, "The document is nested too deeply.")
	}
	if tok == json.Delim('[') {
		return r.array(at, path, depth)
	}
	return r.object(at, path, depth)
}

func (r *reader) array(at int, path string, depth int) (node, *SyntaxError) {
	n := node{at: at, kind: '['}
	for i := 0; r.dec.More(); i++ {
		item, err := r.value(fmt.Sprintf("%s[%d]", path, i), depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	return n, r.end(path)
}

func (r *reader) object(at int, path string, depth int) (node, *SyntaxError) {
	n := node{at: at, kind: '{'}
	seen := map[string]bool{}
	for r.dec.More() {
		keyAt := r.start()
		tok, err := r.dec.Token()
		key, ok := tok.(string)
		if err != nil || !ok {
			return node{}, fault(keyAt, path, "The document is not valid JSON: a key is missing.")
		}
		if seen[key] {
			return node{}, fault(keyAt, path, "The key %s appears twice.", quote(key))
		}
		seen[key] = true
		v, serr := r.value(join(path, key), depth+1)
		if serr != nil {
			return node{}, serr
		}
		n.members = append(n.members, member{keyAt, key, v})
	}
	return n, r.end(path)
}

// end consumes a closing bracket.
func (r *reader) end(path string) *SyntaxError {
	if _, err := r.dec.Token(); err != nil {
		return fault(int(r.dec.InputOffset()), path, "The document is not valid JSON: %v.", err)
	}
	return nil
}

// start returns where the next token begins.
func (r *reader) start() int {
	at := int(r.dec.InputOffset())
	for at < len(r.text) && strings.IndexByte(" \t\r\n,:", r.text[at]) >= 0 {
		at++
	}
	return at
}

func join(path, key string) string {
	key = clip(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

func (n *node) find(key string) *node {
	for i := range n.members {
		if n.members[i].key == key {
			return &n.members[i].value
		}
	}
	return nil
}
