package audit

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit/record"
)

// Refusal counts equal refusals of one second.
type Refusal = record.Refusal

const (
	// maxRefusalKeys bounds the distinct rows of one second: as many as fit in
	// one record.
	maxRefusalKeys = 48
	// maxRefusalCodes bounds the rows that the overflow is split into by code.
	maxRefusalCodes = 8
	// maxRefusalText bounds each text of a row, in bytes: the longest IPv6
	// address with a zone, account ids and all our error codes are shorter.
	maxRefusalText = 48
	refusalOther   = "other"
)

// Refusals counts the requests that were refused before anybody's identity was
// established. They come from strangers, at whatever rate strangers like: they
// get one record a second together, not one each. All methods may be called
// from any goroutine.
type Refusals struct {
	emit func(counts []Refusal)
	stop chan struct{}
	done chan struct{}
	once sync.Once

	emitting sync.Mutex // held during emit, so that one call runs at a time

	mu     sync.Mutex // protects the rest; never held during emit
	counts map[Refusal]uint64
	codes  int // rows with the source "other"
}

// NewRefusals starts counting. emit is called once a second if anything was
// counted, by one goroutine at a time, and may take its time: Add does not wait
// for it. Close ends it.
func NewRefusals(emit func(counts []Refusal)) *Refusals {
	t := time.NewTicker(time.Second)
	return newRefusals(emit, t.C, t.Stop)
}

func newRefusals(emit func(counts []Refusal), tick <-chan time.Time, stopTick func()) *Refusals {
	r := &Refusals{emit: emit, stop: make(chan struct{}), done: make(chan struct{}), counts: make(map[Refusal]uint64)}
	go func() {
		defer close(r.done)
		defer stopTick()
		for {
			select {
			case <-tick:
				r.Flush()
			case <-r.stop:
				return
			}
		}
	}()
	return r
}

// Add counts one refusal. source is the peer's address, account the one that
// the access key named belongs to (empty if there is none), code the error code
// of the answer. Past 48 different rows in a second, source and account are
// counted as "other".
func (r *Refusals) Add(source, account, code string) {
	k := Refusal{Source: short(source), Account: short(account), Code: short(code)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.counts[k]; !ok && len(r.counts) >= maxRefusalKeys {
		k.Source, k.Account = refusalOther, refusalOther
		if _, ok := r.counts[k]; !ok {
			if r.codes >= maxRefusalCodes {
				k.Code = refusalOther
			} else {
				r.codes++
			}
		}
	}
	if _, ok := r.counts[k]; !ok {
		// Keep nothing of the request's buffers alive.
		k = Refusal{Source: strings.Clone(k.Source), Account: strings.Clone(k.Account), Code: strings.Clone(k.Code)}
	}
	r.counts[k]++
}

func short(s string) string { return s[:min(len(s), maxRefusalText)] }

// Flush passes on what was counted so far, unless that is nothing, and returns
// when emit has returned.
func (r *Refusals) Flush() {
	r.emitting.Lock()
	defer r.emitting.Unlock()
	r.mu.Lock()
	counts := r.counts
	r.counts, r.codes = make(map[Refusal]uint64), 0
	r.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	rows := make([]Refusal, 0, len(counts))
	for k, n := range counts {
		k.Count = n
		rows = append(rows, k)
	}
	sortRefusals(rows)
	r.emit(rows)
}

// Close ends the goroutine and passes on the rest. What is added afterwards is
// lost. It may be called more than once.
func (r *Refusals) Close() {
	r.once.Do(func() { close(r.stop) })
	<-r.done
	r.Flush()
}

// sortRefusals puts the largest counts first: if the record must be cut, the
// smallest go. Equal counts are in the order of their texts.
func sortRefusals(rows []Refusal) {
	slices.SortFunc(rows, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Source, b.Source),
			strings.Compare(a.Account, b.Account), strings.Compare(a.Code, b.Code))
	})
}
