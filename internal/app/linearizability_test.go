package app_test

import (
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// linRun checks a history of concurrent clients on a server of its own, by one
// of the two rules of reading.
func linRun(t *testing.T, shared bool, opsEach int, want porcupine.CheckResult) {
	t.Helper()
	srv := sesametest.Start(t, sesametest.Options{SharedCheck: shared})
	w := &linWorld{}
	w.moveTo(srv.URL, srv.CAPEM)
	w.setUp(t, srv.Operator, 2)
	w.run(t, 8, func(i int) bool { return i < opsEach }, want)
	w.http.CloseIdleConnections()
}

// TestLinearizable lets clients change secrets and permissions, read, and be
// refused, all at once, through the front door: every answer fits one order of
// all that happened, and that order fits the clock.
func TestLinearizable(t *testing.T) {
	if earlyAckBuild {
		t.Skip("this build is wrong on purpose: see TestEarlyAck")
	}
	ops := 300
	if testing.Short() {
		ops = 120
	}
	for name, shared := range map[string]bool{"single voter": false, "shared check": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			linRun(t, shared, ops, porcupine.Ok)
		})
	}
}

// TestEarlyAck shows that TestLinearizable would find out what it is there for:
// a build whose store answers writes before the replica has them is caught
// where only the replica is looked at. The shared check does not rely on the
// answer having waited, and must hold even so.
func TestEarlyAck(t *testing.T) {
	if !earlyAckBuild {
		t.Skip("needs the build tag sesame_early_ack")
	}
	t.Run("single voter", func(t *testing.T) { linRun(t, false, 60, porcupine.Illegal) })
	t.Run("shared check", func(t *testing.T) { linRun(t, true, 60, porcupine.Ok) })
}
