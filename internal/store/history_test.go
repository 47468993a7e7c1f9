package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The operations of a history, on one record each.
type opKind int

const (
	opGet opKind = iota
	opPut        // blind
	opAdd        // read, add one, write
	opDelete
)

type opInput struct {
	kind opKind
	key  string
	n    int // of a put
}

// absent is the value of a record that does not exist.
const absent = -1

// registers is the sequential model: one integer per key.
var registers = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range h {
			k := op.Input.(opInput).key
			byKey[k] = append(byKey[k], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return absent },
	Step: func(state, input, output any) (bool, any) {
		in, n := input.(opInput), state.(int)
		switch in.kind {
		case opPut:
			return true, in.n
		case opDelete:
			return true, absent
		case opAdd:
			// An add of unknown outcome may have read anything.
			return output == nil || output.(int) == n, max(n, 0) + 1
		default:
			return output.(int) == n, n
		}
	},
}

// history collects operations; those of unknown outcome never return.
type history struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// client makes random operations and records them.
func (h *history) client(t *testing.T, s *Store, id, ops int, writes bool) {
	rng := rand.New(rand.NewPCG(1, uint64(id)))
	for i := range ops {
		in := opInput{key: fmt.Sprintf("a/%d", rng.IntN(4)), n: id*10_000 + i}
		if writes && i%2 == 0 {
			in.kind = opPut + opKind(rng.IntN(3))
		}
		call := h.now()
		out, err := do(s, in, fmt.Sprintf("r-%d-%d", id, i))
		op := porcupine.Operation{ClientId: id, Input: in, Call: call, Output: out, Return: h.now()}
		switch {
		case errors.Is(err, ErrOutcomeUnknown):
			op.Output, op.Return = nil, math.MaxInt64
		case errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable):
			continue // did nothing
		case err != nil:
			t.Errorf("%v: %v", in, err)
			return
		}
		h.add(op)
	}
}

func do(s *Store, in opInput, requestID string) (any, error) {
	ctx := context.Background()
	if in.kind == opGet {
		v, err := s.View(ctx)
		if err != nil {
			return nil, err
		}
		return valueOf(notes.Get(v, in.key))
	}
	var out any
	_, err := s.Commit(ctx, nil, requestID, func(tx *Tx) (err error) {
		tx.Outbox([]byte(requestID))
		switch in.kind {
		case opPut:
			notes.Put(tx, in.key, &note{N: in.n})
		case opDelete:
			notes.Delete(tx, in.key)
		case opAdd:
			if out, err = valueOf(notes.Read(tx, in.key)); err == nil {
				notes.Put(tx, in.key, &note{N: max(out.(int), 0) + 1})
			}
		}
		return err
	})
	return out, err
}

func valueOf(n *note, err error) (any, error) {
	if errors.Is(err, ErrNotFound) {
		return absent, nil
	}
	if err != nil {
		return nil, err
	}
	return n.N, nil
}

// run lets writers and readers loose on the store and returns what porcupine
// thinks of it.
func run(t *testing.T, s *Store, disturb func()) porcupine.CheckResult {
	t.Helper()
	h := &history{start: time.Now()}
	var wg sync.WaitGroup
	for id := range 10 {
		wg.Go(func() { h.client(t, s, id, 150, id < 4) })
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for done := false; !done; {
		disturb()
		select {
		case <-finished:
			done = true
		case <-time.After(15 * time.Millisecond):
		}
	}
	if len(h.ops) < 500 {
		t.Fatalf("only %d operations went through", len(h.ops))
	}
	return porcupine.CheckOperationsTimeout(registers, h.ops, time.Minute)
}

// TestHistory checks histories of concurrent writers and readers for
// linearizability, by both rules of reading, calm and with the watch breaking
// all the time.
//
// In the build made to be caught (tag sesame_early_ack) the single-voter rule
// must be found out: there the replica is all that a read looks at. The shared
// check does not rely on writes waiting for the replica and must hold even so.
func TestHistory(t *testing.T) {
	for _, tt := range []struct {
		name    string
		shared  bool
		disturb bool
	}{
		{"single voter", false, false},
		{"single voter, watch breaks", false, true},
		{"shared check", true, false},
		{"shared check, watch breaks", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kv, w := &faultyKV{}, &faultyWatcher{}
			f := newFixture(t, withFaults(kv, w), func(cfg *Config) {
				cfg.ForceSharedCheck = tt.shared
				cfg.CompactEvery, cfg.KeepRevisions = 5*time.Millisecond, 50
			})
			disturb := func() {}
			if tt.disturb {
				disturb = func() { _, end := w.current(); end() }
			}
			want := porcupine.Ok
			if earlyAck && !tt.shared {
				want = porcupine.Illegal
			}
			if got := run(t, f.Store, disturb); got != want {
				t.Errorf("the history is %s, want %s", got, want)
			}
		})
	}
}
