//go:build !sesame_early_ack

package store

// earlyAck is set only in a build made to be caught: see early_ack_on.go.
const earlyAck = false

func holdApplier() {}
