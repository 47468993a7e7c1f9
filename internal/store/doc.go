// Package store keeps the server's state: typed records in etcd, a replica of
// all of them in memory, and transactions that compare what they read.
//
// Reading: every server holds the whole state decoded in memory, fed by one
// watch. A [View] is an immutable snapshot of it at one etcd revision, at least
// as new as every write that was confirmed before the view was asked for. If
// that cannot be established the answer is [ErrUnavailable], never an older
// state.
//
// Writing: [Store.Commit] runs a function against a view and sends what it
// staged as one etcd transaction, which fails unless everything it read is
// still as it was. It returns after its own revision has reached the replica.
//
// Trust: etcd's content is not trusted. Every record carries a MAC over its
// etcd key and body, so that whoever can write the database can neither forge a
// record nor move one to another place; a record that fails is refused
// ([ErrTampered]) and reported, and never taken for absent. The MAC does not
// detect a record that was deleted or put back to an older state. The package
// trusts its callers: it knows no policy.
package store

import "errors"

// Errors of the package; compare with errors.Is, most are wrapped.
var (
	// ErrNotFound: there is no such record in the view.
	ErrNotFound = errors.New("record not found")
	// ErrTampered: there is a record, but its MAC or its content is not valid.
	// It must never be treated as absence: what it would have forbidden is
	// unknown.
	ErrTampered = errors.New("record failed its integrity check")
	// ErrConflict: something that the transaction read has changed, nothing was
	// written. Take a new view, authorise and run again.
	ErrConflict = errors.New("conflicting change")
	// ErrOutcomeUnknown: the transaction was sent and may or may not have taken
	// effect, now or a little later.
	ErrOutcomeUnknown = errors.New("the outcome of the change is unknown")
	// ErrUnavailable: no current view could be had in time, or the transaction
	// was not sent. Nothing happened.
	ErrUnavailable = errors.New("store unavailable")
	// ErrClosed is wrapped by the ErrUnavailable of a closed store.
	ErrClosed = errors.New("store closed")
	// ErrFormat: the data was written by a newer release than this one can read.
	ErrFormat = errors.New("data format too new")
)
