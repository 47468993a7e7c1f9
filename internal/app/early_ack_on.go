//go:build sesame_early_ack

package app

import "time"

// catchUp waits until the replica has the revision. The store of this build
// answers before that, on purpose, so that tests can show that they find it out;
// but for that a server has to come up, which reads what it just wrote.
func (a *App) catchUp(rev int64) {
	for a.store.Rev() < rev {
		time.Sleep(time.Millisecond)
	}
}
