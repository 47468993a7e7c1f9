package record

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// cutter shortens a record in place. Lists and maps are replaced, not changed:
// they belong to the record that was copied.
type cutter struct {
	key, long int // longest text, in bytes
	entries   int // longest list
}

// cuts are tried in turn. The last one gives at most 7 KiB whatever the
// record holds: 30 texts of 64 bytes and seven lists of 6 entries of up to
// three texts each, with their tags and lengths.
var cuts = []cutter{
	{key: 512, long: 2048, entries: 128},
	{key: 512, long: 1024, entries: 64},
	{key: 256, long: 512, entries: 64},
	{key: 256, long: 256, entries: 32},
	{key: 256, long: 128, entries: 16},
	{key: 128, long: 64, entries: 8},
	{key: 64, long: 64, entries: 6},
}

// clip returns s in at most n bytes, ending in an ellipsis if it was cut.
func clip(s string, n int) string {
	const mark = "…"
	over := len(s) > n
	s = strings.ToValidUTF8(s[:min(len(s), n)], "\uFFFD") // which may make it longer
	if !over && len(s) <= n {
		return s
	}
	n = min(n-len(mark), len(s))
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}

func (c cutter) text(_ byte, s *string, long bool) {
	if long {
		*s = clip(*s, c.long)
	} else {
		*s = clip(*s, c.key)
	}
}

// raw drops what is too long: half a JSON object is none.
func (c cutter) raw(_ byte, s *json.RawMessage) {
	if len(*s) > c.long {
		*s = nil
	}
}

func (c cutter) list(_ byte, l *[]string) {
	*l = slices.Clone((*l)[:min(len(*l), c.entries)])
	for i, s := range *l {
		(*l)[i] = clip(s, c.key)
	}
}

func (c cutter) pairs(_ byte, m *map[string]string) {
	names := slices.Sorted(maps.Keys(*m))
	short := make(map[string]string, min(len(names), c.entries))
	for _, k := range names[:min(len(names), c.entries)] {
		short[clip(k, c.key)] = clip((*m)[k], c.long)
	}
	*m = short
}

func (c cutter) resources(_ byte, l *[]Resource) {
	*l = slices.Clone((*l)[:min(len(*l), c.entries)])
	for i, r := range *l {
		(*l)[i] = Resource{clip(r.Type, c.key), clip(r.Name, c.key)}
	}
}

func (c cutter) refusals(_ byte, l *[]Refusal) {
	*l = slices.Clone((*l)[:min(len(*l), c.entries)])
	for i, r := range *l {
		(*l)[i] = Refusal{clip(r.Source, c.key), clip(r.Account, c.key), clip(r.Code, c.key), r.Count}
	}
}

func (cutter) number(byte, *uint64)  {}
func (cutter) integer(byte, *int64)  {}
func (cutter) status(byte, *int)     {}
func (cutter) flag(byte, *bool)      {}
func (cutter) time(byte, *time.Time) {}
