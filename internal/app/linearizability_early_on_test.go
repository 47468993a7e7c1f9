//go:build sesame_early_ack

package app_test

// earlyAckBuild: the store of this build answers a write before the replica has
// it, in order to be caught.
const earlyAckBuild = true
