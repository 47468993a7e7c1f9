package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

// Kind says where a document is used, and so which elements it may have and
// how long it may be.
type Kind int

// The kinds of documents.
const (
	// Identity is a policy attached to a user, group or role; at most 6,144
	// characters.
	Identity Kind = iota
	// Session is the policy given with AssumeRole; at most 2,048 characters.
	Session
	// Trust says who may take on a role; at most 4,096 characters.
	Trust
	// Resource is the policy of a secret or key; at most 32,768 bytes.
	Resource
)

// Limits of a document's length: characters, but for Resource bytes. The
// documentation of the API names them, but for Trust, where it is silent.
const (
	MaxIdentity = 6144
	MaxSession  = 2048
	MaxTrust    = 4096
	MaxResource = 32768
)

// maxSid is the longest Sid, in characters.
const maxSid = 128

// Scope holds what the placeholders ${region} and ${account} of a document
// stand for: the server's region, and the account that the policy belongs to
// (for a Resource document the owner of the thing).
type Scope struct{ Region, Account string }

// Document is a compiled policy document. It is immutable and safe for
// concurrent use.
type Document struct {
	kind       Kind
	text       string
	statements []statement
}

// statement is one compiled statement.
type statement struct {
	index      int
	sid        string
	deny       bool
	notAction  bool
	actions    []pattern // in lower case
	resources  []resourcePattern
	principals []named
	conditions []condition
}

// SyntaxError says what is wrong with a document and where.
type SyntaxError struct {
	// Message is a sentence for people. It quotes the document where that
	// helps, shortened.
	Message string
	// Path is the element, for example Statement[0].Action; empty for the
	// document as a whole.
	Path string
	// Line and Column count from 1; columns are bytes.
	Line, Column int
	// TooLong is set if all that is wrong is the document's length.
	TooLong bool

	at int
}

// Error returns the message and the place.
func (e *SyntaxError) Error() string {
	if e.TooLong {
		return e.Message
	}
	place := fmt.Sprintf("line %d, column %d", e.Line, e.Column)
	if e.Path != "" {
		place = e.Path + ", " + place
	}
	return e.Message + " (" + place + ")"
}

// fault makes an error at a byte offset; Compile adds line and column.
func fault(at int, path, format string, args ...any) *SyntaxError {
	return &SyntaxError{Message: fmt.Sprintf(format, args...), Path: path, at: at}
}

// Compile parses text strictly and compiles it. The error is a *SyntaxError.
// Duplicate keys, unknown elements and operators, trailing text, invalid UTF-8,
// empty lists and values that are not of their operator's type are refused.
func Compile(kind Kind, text string, scope Scope) (*Document, error) {
	if err := checkLength(kind, text); err != nil {
		return nil, err
	}
	if !utf8.ValidString(text) {
		return nil, &SyntaxError{Message: "The document is not valid UTF-8.", Line: 1, Column: 1}
	}
	root, err := readJSON(text)
	if err == nil {
		c := compiler{kind: kind, scope: scope}
		var d *Document
		if d, err = c.document(&root); err == nil {
			d.text = text
			return d, nil
		}
	}
	err.at = min(max(err.at, 0), len(text))
	err.Line = strings.Count(text[:err.at], "\n") + 1
	err.Column = err.at - strings.LastIndexByte(text[:err.at], '\n')
	return nil, err
}

func checkLength(kind Kind, text string) error {
	limit, unit, n := MaxIdentity, "characters", utf8.RuneCountInString(text)
	switch kind {
	case Session:
		limit = MaxSession
	case Trust:
		limit = MaxTrust
	case Resource:
		limit, unit, n = MaxResource, "bytes", len(text)
	}
	if n <= limit {
		return nil
	}
	return &SyntaxError{
		Message: fmt.Sprintf("The document has %d %s; at most %d are allowed.", n, unit, limit),
		Line:    1, Column: 1, TooLong: true,
	}
}

// Kind returns what the document was compiled as.
func (d *Document) Kind() Kind { return d.kind }

// Text returns the document byte for byte as it was given.
func (d *Document) Text() string { return d.text }

// Principals returns all principals that the document names, without
// duplicates, in the order of the text. Root stands for a whole account; a
// Service with an Account is meant for that account only. Who stores the
// document uses it to check that users and roles exist and to count foreign
// accounts.
func (d *Document) Principals() []Principal {
	var all []Principal
	for i := range d.statements {
		for _, n := range d.statements[i].principals {
			if !slices.Contains(all, Principal(n)) {
				all = append(all, Principal(n))
			}
		}
	}
	return all
}

// CheckTarget reports whether every Resource element of a Resource document
// covers target, the thing that it is to be set on: such a document speaks of
// that thing alone. The error is a *SyntaxError that names the first other
// resource.
func (d *Document) CheckTarget(target arn.ARN) error {
	t := newThing(target)
	for i := range d.statements {
		for j := range d.statements[i].resources {
			if !d.statements[i].resources[j].match(&t) {
				return &SyntaxError{
					Message: fmt.Sprintf("The Resource must be * or %s.", target),
					Path:    fmt.Sprintf("Statement[%d].Resource", i), Line: 1, Column: 1,
				}
			}
		}
	}
	return nil
}

// clip shortens a piece of a document for a message.
func clip(s string) string {
	const most = 64
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// quote shows a piece of a document in a message: shortened, in single quotes,
// control characters escaped.
func quote(s string) string {
	q := strconv.Quote(clip(s))
	return "'" + q[1:len(q)-1] + "'"
}
