//go:build !sesame_early_ack

package app_test

// earlyAckBuild is set in a build that is wrong on purpose.
const earlyAckBuild = false
