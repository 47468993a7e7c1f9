package audit

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
)

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][]Refusal
		r := NewRefusals(func(c []Refusal) { got = append(got, c) })
		r.Add("203.0.113.7", "1", "SignatureDoesNotMatch")
		r.Add("203.0.113.8", "", "InvalidAccessKeyId.NotFound")
		r.Add("203.0.113.8", "", "InvalidAccessKeyId.NotFound")
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		want := [][]Refusal{{
			{Source: "203.0.113.8", Code: "InvalidAccessKeyId.NotFound", Count: 2},
			{Source: "203.0.113.7", Account: "1", Code: "SignatureDoesNotMatch", Count: 1},
		}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after a second (-want +got):\n%s", d)
		}
		time.Sleep(10 * time.Second) // nothing new: no more calls
		r.Add("a", "b", "c")
		r.Flush()
		r.Add("d", "e", "f")
		r.Close()
		r.Close()
		want = append(want, []Refusal{{Source: "a", Account: "b", Code: "c", Count: 1}}, []Refusal{{Source: "d", Account: "e", Code: "f", Count: 1}})
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("at the end (-want +got):\n%s", d)
		}
	})
}

func TestRefusalsAreBounded(t *testing.T) {
	var got []Refusal
	r := newRefusals(func(c []Refusal) { got = c }, nil, func() {})
	defer r.Close()
	const n = 10_000
	for i := range n {
		r.Add(fmt.Sprint("source ", i, strings.Repeat("x", 1000)), "1", fmt.Sprint("Code", i%20))
	}
	r.Flush()
	if most := maxRefusalKeys + maxRefusalCodes + 1; len(got) > most {
		t.Errorf("%d rows, want at most %d", len(got), most)
	}
	var sum uint64
	for _, c := range got {
		sum += c.Count
		if len(c.Source) > maxRefusalText {
			t.Errorf("source of %d bytes", len(c.Source))
		}
	}
	if sum != n {
		t.Errorf("rows add up to %d, want %d", sum, n)
	}
	if got[0].Source != refusalOther {
		t.Errorf("the largest row comes from %q", got[0].Source)
	}
	// What is emitted fits into a record, at worst without its smallest rows.
	b, err := (&record.Record{Kind: record.KindRefusals, Counts: got}).Marshal()
	if err != nil || len(b) > record.MaxSize {
		t.Errorf("record of %d bytes, %v", len(b), err)
	}
	back, err := record.Unmarshal(b)
	if err != nil || back.Counts[0].Count != got[0].Count {
		t.Errorf("the largest count was cut: %v", err)
	}
}

// A slow emit does not stop the counting.
func TestRefusalsSlowEmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var sum uint64
		r := NewRefusals(func(c []Refusal) {
			<-release
			for _, row := range c {
				sum += row.Count
			}
		})
		r.Add("a", "b", "c")
		time.Sleep(2 * time.Second)
		r.Add("a", "b", "c")
		close(release)
		r.Close()
		if sum != 2 {
			t.Errorf("counted %d, want 2", sum)
		}
	})
}
