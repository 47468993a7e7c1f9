//go:build sesame_early_ack

package store

import "time"

// This build is wrong on purpose: it answers a write before the replica has it,
// and holds the replica back so that the difference shows. The tests that check
// histories must find it out; if they do not, they prove nothing.
const earlyAck = true

func holdApplier() { time.Sleep(20 * time.Millisecond) }
