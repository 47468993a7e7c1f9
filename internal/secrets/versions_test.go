package secrets

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// TestAddVersionKeepsTheRules puts random versions with random labels and
// checks after each that the rules of versions and labels hold.
func TestAddVersionKeepsTheRules(t *testing.T) {
	labels := []string{stageCurrent, stageCurrent, "a", "b", "c", "d", "e", "f", "g"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		sec := &store.Secret{Versions: []store.Version{{ID: "v0", Stages: []string{stageCurrent}}}}
		for n := 1; n < 40; n++ {
			stages := slices.Clone(labels)
			r.Shuffle(len(stages), func(i, j int) { stages[i], stages[j] = stages[j], stages[i] })
			stages = stages[:1+r.IntN(4)]
			slices.Sort(stages)
			stages = slices.Compact(stages)
			before := clone(sec)
			id := fmt.Sprint("v", n)
			evicted, err := addVersion(sec, store.Version{ID: id}, stages)
			if err != nil {
				if !errors.Is(err, apierr.LimitExceeded) {
					t.Fatal(err)
				}
				sec = before // the transaction is dropped
				continue
			}
			checkVersions(t, before, sec, id, evicted, stages)
		}
	}
}

func clone(s *store.Secret) *store.Secret {
	c := *s
	c.Versions = slices.Clone(s.Versions)
	for i := range c.Versions {
		c.Versions[i].Stages = slices.Clone(c.Versions[i].Stages)
	}
	return &c
}

func checkVersions(t *testing.T, before, after *store.Secret, id, evicted string, stages []string) {
	t.Helper()
	held := map[string]string{}
	for _, v := range after.Versions {
		for _, l := range v.Stages {
			if held[l] != "" {
				t.Fatalf("label %s on %s and %s", l, held[l], v.ID)
			}
			held[l] = v.ID
		}
	}
	if len(held) > maxStages || len(after.Versions) > maxVersions {
		t.Fatalf("%d labels, %d versions", len(held), len(after.Versions))
	}
	for _, l := range stages {
		if held[l] != id {
			t.Fatalf("label %s is on %s, not on the new version", l, held[l])
		}
	}
	former := before.Staged(stageCurrent).ID
	switch {
	case slices.Contains(stages, stageCurrent) && held[stagePrevious] != former:
		t.Fatalf("ACSPrevious is on %q, want the former current %s", held[stagePrevious], former)
	case !slices.Contains(stages, stageCurrent) && held[stageCurrent] != former:
		t.Fatalf("ACSCurrent went from %s to %s unasked", former, held[stageCurrent])
	}
	for i, v := range before.Versions {
		switch gone := after.Version(v.ID) == nil; {
		case gone != (v.ID == evicted):
			t.Fatalf("version %s gone: %v, evicted: %s", v.ID, gone, evicted)
		case gone && len(before.Versions) < maxVersions:
			t.Fatalf("%s is evicted from %d versions", v.ID, len(before.Versions))
		case gone:
			for _, older := range after.Versions[:i] {
				if len(older.Stages) == 0 {
					t.Fatalf("%s is evicted before the older %s", v.ID, older.ID)
				}
			}
		}
	}
	if last := after.Versions[len(after.Versions)-1]; last.ID != id {
		t.Fatalf("the newest version is %s", last.ID)
	}
}
