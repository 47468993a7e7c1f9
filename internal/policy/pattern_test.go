package policy

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// wild is the definition of a pattern, on characters: the reference for match.
func wild(p, s []rune) bool {
	// row[j] tells whether the pattern so far fits s[:j].
	row := make([]bool, len(s)+1)
	row[0] = true
	for _, c := range p {
		next := make([]bool, len(s)+1)
		for j := range next {
			switch {
			case c == '*':
				next[j] = row[j] || j > 0 && next[j-1]
			case j > 0:
				next[j] = row[j-1] && (c == '?' || c == s[j-1])
			}
		}
		row = next
	}
	return row[len(s)]
}

func TestPatternAgainstDefinition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(rapid.SampledFrom([]rune("ab密*?*?")), 0, 9).Draw(t, "pattern")
		s := rapid.SliceOfN(rapid.SampledFrom([]rune("aab密é")), 0, 9).Draw(t, "text")
		p := newPattern(string(ps))
		if got, want := p.match(string(s)), wild(ps, s); got != want {
			t.Fatalf("%q matches %q: %v, want %v", string(ps), string(s), got, want)
		}
		// reaches: does any continuation fit? All up to some length over the
		// letters of the pattern are tried.
		want := false
		var try func(tail []rune, depth int)
		try = func(tail []rune, depth int) {
			want = want || wild(ps, append(append([]rune{}, s...), tail...))
			for _, c := range "ab密" {
				if !want && depth > 0 {
					try(append(tail[:len(tail):len(tail)], c), depth-1)
				}
			}
		}
		if len(s) <= 4 && len(ps) <= 4 {
			try(nil, 4)
			if got := p.reaches(string(s)); got != want {
				t.Fatalf("%q reaches %q: %v, want %v", string(ps), string(s), got, want)
			}
		}
	})
}

// TestPatternDoesNotBlowUp runs patterns on which a backtracking matcher takes
// longer than anybody lives; that it ends is the test. (cmd/go's time limit
// stops it otherwise.)
func TestPatternDoesNotBlowUp(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("a", 30000)
	for _, s := range []string{
		strings.Repeat("a*", 3000) + "b",
		strings.Repeat("*a", 3000) + "*b*",
		strings.Repeat("?*", 3000) + "b",
		"*" + strings.Repeat("?a", 1000) + "b*",
		strings.Repeat("*?a?", 1500) + "*b",
		strings.Repeat("*", 6000) + "b",
	} {
		p := newPattern(s)
		if p.match(text) {
			t.Errorf("%.20s… matches", s)
		}
		if q := newPattern(strings.ReplaceAll(s, "b", "")); !q.match(text) {
			t.Errorf("%.20s… without its b does not match", s)
		}
	}
}

func TestInvalidText(t *testing.T) {
	t.Parallel()
	// Texts of a request may be no UTF-8: each bad byte counts as a character.
	for p, want := range map[string]bool{"??": true, "?": false, "*?": true, "*": true, "a?": false} {
		c := newPattern(p)
		if got := c.match("\xff\xfe"); got != want {
			t.Errorf("%q matches two bad bytes: %v", p, got)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*?密*", "é密\xff")
	f.Add("**?", "")
	f.Fuzz(func(t *testing.T, ps, s string) {
		if len(ps) > 200 || len(s) > 200 || !utf8.ValidString(ps) || !utf8.ValidString(s) {
			t.Skip()
		}
		p := newPattern(ps)
		if got, want := p.match(s), wild([]rune(ps), []rune(s)); got != want {
			t.Errorf("%q matches %q: %v, want %v", ps, s, got, want)
		}
		if p.match(s) && !p.reaches(s) {
			t.Errorf("%q matches %q and does not reach it", ps, s)
		}
	})
}
