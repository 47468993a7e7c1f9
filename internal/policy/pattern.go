package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is a text with wildcards, compiled: '*' stands for any run of
// characters, also none, and '?' for exactly one character. There is no escape.
//
// It is cut at its stars into chunks. The first and the last are tied to the
// ends of the text, each other is taken at the first place where it fits: a
// later place could only leave less room for the rest, so nothing is ever
// tried again. A chunk without '?' is found by strings.Index; the work for the
// whole match is linear in text and pattern. A chunk with '?' is tried at
// each place of what is left of the text, at most text × chunk.
type pattern struct {
	text   string
	chunks []chunk // what stands between the stars; one more than there are stars
	stars  bool
}

// chunk is a part of a pattern without stars.
type chunk struct {
	text  string
	chars int  // length in characters
	marks bool // holds '?'
}

func newPattern(s string) pattern {
	p := pattern{text: s, stars: strings.Contains(s, "*")}
	if !p.stars && !strings.Contains(s, "?") {
		return p // compared as it stands
	}
	for part := range strings.SplitSeq(s, "*") {
		// Neighbouring stars are one; empty chunks count only at the ends,
		// where they say that the text may go on.
		p.chunks = append(p.chunks, chunk{
			text:  part,
			chars: utf8.RuneCountInString(part),
			marks: strings.Contains(part, "?"),
		})
	}
	return p
}

// match reports whether the whole of s fits the pattern.
func (p *pattern) match(s string) bool {
	if p.chunks == nil {
		return p.text == s
	}
	first, last := &p.chunks[0], &p.chunks[len(p.chunks)-1]
	n, ok := first.prefix(s)
	if !ok {
		return false
	}
	s = s[n:]
	if !p.stars {
		return s == ""
	}
	if s, ok = last.cutSuffix(s); !ok {
		return false
	}
	for i := 1; i < len(p.chunks)-1; i++ {
		if n = p.chunks[i].find(s); n < 0 {
			return false
		}
		s = s[n:]
	}
	return true
}

// prefix reports whether s begins with the chunk, and with how many bytes.
func (c *chunk) prefix(s string) (int, bool) {
	if !c.marks {
		return len(c.text), strings.HasPrefix(s, c.text)
	}
	at := 0
	for i := 0; i < len(c.text); i++ {
		switch {
		case at >= len(s):
			return 0, false
		case c.text[i] == '?':
			_, size := utf8.DecodeRuneInString(s[at:])
			at += size
		case c.text[i] == s[at]:
			at++
		default:
			return 0, false
		}
	}
	return at, true
}

// cutSuffix takes the chunk off the end of s.
func (c *chunk) cutSuffix(s string) (string, bool) {
	if !c.marks {
		return strings.CutSuffix(s, c.text)
	}
	at := len(s) // stays at 0 if s is too short, and then nothing fits
	for range c.chars {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	n, ok := c.prefix(s[at:])
	return s[:at], ok && at+n == len(s)
}

// find returns how many bytes of s are used up when the chunk is taken at the
// first place where it fits, or -1.
func (c *chunk) find(s string) int {
	if !c.marks {
		if i := strings.Index(s, c.text); i >= 0 {
			return i + len(c.text)
		}
		return -1
	}
	for at := 0; at+c.chars <= len(s); {
		if n, ok := c.prefix(s[at:]); ok {
			return at + n
		}
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return -1
}

// reaches reports whether some text that begins with prefix fits the pattern:
// whether, that is, the pattern can take in all of prefix and stop anywhere.
func (p *pattern) reaches(prefix string) bool {
	if p.chunks == nil {
		return strings.HasPrefix(p.text, prefix)
	}
	// What comes before the first star decides: from there on the pattern
	// can swallow the rest of prefix, and any text has a continuation that
	// ends as the pattern wants.
	head := &p.chunks[0]
	rest := prefix
	for i := 0; i < len(head.text); i++ {
		switch {
		case rest == "":
			return true
		case head.text[i] == '?':
			_, size := utf8.DecodeRuneInString(rest)
			rest = rest[size:]
		case head.text[i] == rest[0]:
			rest = rest[1:]
		default:
			return false
		}
	}
	return rest == "" || p.stars
}
