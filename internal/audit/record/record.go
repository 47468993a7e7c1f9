// Package record is one line of the audit trail: what was asked, by whom, of
// what, how it was decided and how it ended. It turns a record into the
// compact form that the log stores and back, and renders the event that
// readers of the trail see.
//
// It trusts its caller to have masked what is confidential: a record holds
// names, identifiers and reasons, never a secret value, a key or a password.
// It trusts nobody about size or form: whatever a caller of the service put
// into its request, the stored form is valid UTF-8 and at most [MaxSize] long.
package record

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Kind says what a record is about.
type Kind string

// The kinds of records.
const (
	// KindCall is a request whose signature was verified. It is the zero
	// value's meaning too and is not stored.
	KindCall Kind = ""
	// KindRefusals counts requests of one second that were refused before
	// anybody's identity was established.
	KindRefusals Kind = "refusals"
	// KindNotice is the server's own word on an earlier record or on the log;
	// Operation holds one of the Notice names.
	KindNotice Kind = "notice"
)

// What a notice can say, in its Operation.
const (
	// NoticeAnswerWithheld follows a record that became durable only after
	// its request had been refused: what it describes was not handed out.
	NoticeAnswerWithheld = "AnswerWithheld"
	// NoticeOutcomeUnknown follows a change of which the server could not
	// find out whether it was made.
	NoticeOutcomeUnknown = "OutcomeUnknown"
	// NoticeTailRepaired says that the end of the log was cut at start.
	NoticeTailRepaired = "AuditTailRepaired"
	// NoticeKeysRotated says how a rotation of keys ended.
	NoticeKeysRotated = "KeyRotationFinished"
)

// What Record.RW can hold.
const (
	Read  = "Read"
	Write = "Write"
)

// What Identity.Type can hold.
const (
	TypeRoot        = "root-account"
	TypeUser        = "ram-user"
	TypeAssumedRole = "assumed-role"
	TypeSystem      = "system"
	TypeOperator    = "operator"
)

// What Record.Decision can hold.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// Record is one entry of the trail. Empty fields are neither stored nor shown.
// A Record may be read by several goroutines, but not changed meanwhile.
type Record struct {
	Kind      Kind
	RequestID string    // given to the caller
	EventID   string    // empty: the RequestID; together with Part the identity of the record
	Part      uint64    // number of this record among those of its request, from 0
	Time      time.Time // when the request arrived; stored in UTC with nanoseconds, years 1678 to 2262

	Operation  string // "GetSecretValue", or a Notice name
	RW         string // Read or Write
	Product    string // "Kms", "Sts", "Ram", "ResourceManager", "OpenSesame"
	APIVersion string // "2016-01-20"
	Region     string
	Host       string // the host that the request went to
	Source     string // peer's address; the service's host name for calls of a platform service
	UserAgent  string // as received
	TLS        bool
	Global     bool // of a product without regions (RAM, STS)

	Identity Identity

	Params    map[string]string // parameters of the call, masked
	Response  json.RawMessage   // a JSON object of results that are not confidential; nil on failure
	Resources []Resource

	ErrorCode    string
	ErrorMessage string
	HTTPStatus   int

	VersionID     string
	SecretID      string
	Stages        []string
	KeyID         string // not of a service-managed key: the account must not see it
	KeyVersionID  string
	HostingMode   string
	OwningProduct string
	Gateway       string // "shared" or the id of the KMS instance
	Network       string // "vpc-…" of the peer, when known

	Decision        string   // Allow or Deny; empty when it did not come so far
	Reasons         []string // reason codes
	MatchedPolicies []string

	Node     string
	Sequence uint64 // place in the node's log; a reader of the log sets it, the writer need not
	Revision int64  // of the state that the request was judged by

	Accounts []string  // who may see the record
	Counts   []Refusal // of KindRefusals
	Concerns string    // of KindNotice: EventID of the record it is about
	Note     string    // of KindNotice: a sentence for people

	// NonceHash and NonceTime are the keyed hash of the request's nonce and the
	// time it was signed with, so that a server that starts anew still knows
	// which requests it has seen. They are not shown to readers of the trail.
	NonceHash uint64
	NonceTime time.Time

	// Truncated is set in the stored form when something had to be cut.
	Truncated bool
}

// Identity is who asked, in the words of the event's userIdentity.
type Identity struct {
	Type           string
	PrincipalID    string // of a role session: <role id>:<session>
	AccountID      string // empty for an operator
	UserName       string // of a role session: <role name>:<session>
	AccessKeyID    string
	InvokedBy      string    // TypeSystem: the service on whose behalf
	SessionCreated time.Time // of a role session
	MFA            bool
}

// Resource is a thing that the call was about.
type Resource struct {
	Type string // "ACS::KMS::Secret"
	Name string
}

// Refusal counts equal refusals.
type Refusal struct {
	Source  string // peer's address
	Account string // account that the access key named belongs to, if any
	Code    string // error code of the answer
	Count   uint64
}

// VisibleTo reports whether the account may see the record.
func (r *Record) VisibleTo(account string) bool { return slices.Contains(r.Accounts, account) }

// Split returns records that say the same to at most n accounts each, in
// numbered parts: r alone if it is for no more than that.
func (r *Record) Split(n int) []*Record {
	if len(r.Accounts) <= n {
		return []*Record{r}
	}
	var out []*Record
	for accounts := range slices.Chunk(r.Accounts, n) {
		part := *r
		part.Part, part.Accounts = r.Part+uint64(len(out)), accounts
		out = append(out, &part)
	}
	return out
}

// ID returns the event id: EventID, or the RequestID when there is none.
func (r *Record) ID() string {
	if r.EventID != "" {
		return r.EventID
	}
	return r.RequestID
}

// Withheld returns the notice that is to follow r when r became durable only
// after its request had been refused. index is r's place in the log, at the
// time of the notice. The same record gives the same event id each time.
func (r *Record) Withheld(index uint64, at time.Time) *Record {
	n := r.notice(NoticeAnswerWithheld, at)
	n.Note = fmt.Sprintf("record %d became durable after its request had been refused; nothing was handed out", index)
	return n
}

// OutcomeUnknown returns the notice that the server could not find out whether
// the change described by r was made.
func (r *Record) OutcomeUnknown(at time.Time) *Record {
	n := r.notice(NoticeOutcomeUnknown, at)
	n.Note = "it could not be found out whether the change was made"
	return n
}

// notice returns a notice about r, visible to the same accounts.
func (r *Record) notice(name string, at time.Time) *Record {
	return &Record{
		Kind: KindNotice, Operation: name, RW: Write,
		RequestID: r.RequestID, EventID: derivedID(r.ID(), r.Part, name), Concerns: r.ID(),
		Time: at, Product: r.Product, APIVersion: r.APIVersion, Region: r.Region, Host: r.Host,
		Global: r.Global, Identity: r.Identity, Resources: r.Resources, Gateway: r.Gateway,
		Node: r.Node, Accounts: r.Accounts,
	}
}

// derivedID makes an event id out of another one, so that a notice written
// twice is recognised as the same. It has the form of a UUID of version 8.
func derivedID(id string, part uint64, what string) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", id, part, what))
	h[6] = h[6]&0x0f | 0x80
	h[8] = h[8]&0x3f | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
