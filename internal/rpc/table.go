// Package rpc is the machine that every request runs through. An operation is
// a typed function that never sees HTTP, declared once beside its code; the
// table of all operations is what dispatch, binding, documentation and tests
// read. Authentication, throttling, replay protection, binding, authorisation,
// audit and metrics happen in one pipeline that no operation can forget.
//
// It trusts the operations to name their targets truthfully and to read and
// write only through their Call.
package rpc

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// Product is one of the APIs that the server speaks. Requests choose it by
// their version; all share one listener.
type Product struct {
	// ID is the product in lower case, as the command line and the policy
	// language write it: kms, sts, ram, resourcemanager, sesame.
	ID string
	// Service is the product as audit events write it: Kms, Sts, Ram.
	Service string
	// Version of the API.
	Version string
	// ActionPrefix begins the RAM actions of its operations.
	ActionPrefix string
	// Global marks products without a region.
	Global bool
	// NonceOptional admits V1 requests without SignatureNonce.
	NonceOptional bool
	// Bad turns a refused parameter into the product's error.
	Bad func(BadParam) *apierr.Error
	// NoPermission is the refusal by policy or ownership.
	NoPermission *apierr.Error
	// Internal is the answer when the server is at fault.
	Internal *apierr.Error
}

// The APIs of this server.
var (
	KMS = &Product{
		ID: "kms", Service: "Kms", Version: "2016-01-20", ActionPrefix: "kms", NonceOptional: true,
		Bad: badKMS, NoPermission: apierr.NoPermission, Internal: apierr.InternalFailure,
	}
	STS = &Product{
		ID: "sts", Service: "Sts", Version: "2015-04-01", ActionPrefix: "sts", Global: true,
		Bad: badSTS, NoPermission: apierr.RAMNoPermission, Internal: apierr.InternalError,
	}
	RAM = &Product{
		ID: "ram", Service: "Ram", Version: "2015-05-01", ActionPrefix: "ram", Global: true,
		Bad: badRAM, NoPermission: apierr.RAMNoPermission, Internal: apierr.InternalError,
	}
	ResourceManager = &Product{
		ID: "resourcemanager", Service: "ResourceManager", Version: "2020-03-31", ActionPrefix: "ram", Global: true,
		Bad: badRAM, NoPermission: apierr.RAMNoPermission, Internal: apierr.InternalError,
	}
	// OpenSesame holds what Alibaba Cloud does not have.
	OpenSesame = &Product{
		ID: "opensesame", Service: "OpenSesame", Version: "2026-12-01", ActionPrefix: "sesame",
		Bad: badKMS, NoPermission: apierr.NoPermission, Internal: apierr.InternalFailure,
	}
)

// Info is what is known of an operation without its types.
type Info struct {
	Product *Product
	// Name is the operation, Action its RAM action.
	Name, Action string
	// Class is the rate class.
	Class throttle.Class
	// Rule is what authorisation needs to know.
	Rule access.Rule
	// Read overrides how the audit event calls an operation that is no write
	// but hands out a credential; see Op.
	EventRW string
	// NoTrail marks the public operations that leave no record.
	NoTrail bool
	// DryRun: see Op.
	DryRun bool
	// Params and Results are the wire names, in order of declaration.
	Params, Results []string
	// Required is the subset of Params that must be given.
	Required []string

	in, out *plan
	call    func(context.Context, *Call, any) (any, error)
	targets func(*Call, any) ([]access.Target, error)
}

// Op declares an operation with its input and output types.
type Op[I, O any] struct {
	// Name as it goes over the wire.
	Name string
	// Action defaults to "<product prefix>:<Name>".
	Action string
	Class  throttle.Class
	// Writes says that the operation changes records.
	Writes bool
	// Callers defaults to access.Accounts.
	Callers access.Callers
	// OwnerGoverns: see access.Rule.
	OwnerGoverns bool
	// Creates and OwnerOfRetired: see access.Rule.
	Creates, OwnerOfRetired bool
	// EventWrite makes the audit event say Write although no record changes.
	EventWrite bool
	// NoTrail: see Info.
	NoTrail bool
	// DryRun lets callers ask, by the parameter DryRun=true, whether the request
	// would succeed. It is for operations that read.
	DryRun bool
	// Targets lists what the request acts on, from the request and c.View. It
	// must not decide anything by itself; an error is only for a target that
	// cannot be named.
	Targets func(c *Call, in *I) ([]access.Target, error)
	// Func does the work once all targets are allowed and exist. It may run
	// again on a newer view if its transaction met a conflict, so it has no
	// effect but through [Update]. Errors that are no *apierr.Error are faults
	// of the server.
	Func func(ctx context.Context, c *Call, in *I) (*O, error)
}

// Table is the set of operations. It is built once at start and read-only
// afterwards.
type Table struct {
	ops      map[string]*Info // version + "\x00" + name
	versions map[string]*Product
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{ops: map[string]*Info{}, versions: map[string]*Product{}}
}

// Add declares an operation of the product. A wrong or double declaration
// panics: it is a programmer's mistake, found by the first test.
func Add[I, O any](t *Table, p *Product, op Op[I, O]) {
	info := &Info{
		Product: p, Name: op.Name, Action: op.Action, Class: op.Class, NoTrail: op.NoTrail, DryRun: op.DryRun,
		Rule: access.Rule{
			Writes: op.Writes, Callers: op.Callers, OwnerGoverns: op.OwnerGoverns,
			Creates: op.Creates, OwnerOfRetired: op.OwnerOfRetired,
		},
		EventRW: "Read",
		in:      inputPlan(reflect.TypeFor[I]()), out: outputPlan(reflect.TypeFor[O]()),
	}
	if info.Action == "" {
		info.Action = p.ActionPrefix + ":" + op.Name
	}
	if info.Rule.Callers == 0 {
		info.Rule.Callers = access.Accounts
	}
	if op.Writes || op.EventWrite {
		info.EventRW = "Write"
	}
	if op.DryRun && op.Writes {
		panic(fmt.Sprintf("rpc: operation %s writes and cannot be run dry", op.Name))
	}
	if op.Func == nil || op.Targets == nil || op.Class == "" {
		panic(fmt.Sprintf("rpc: operation %s lacks Func, Targets or Class", op.Name))
	}
	info.call = func(ctx context.Context, c *Call, in any) (any, error) { return op.Func(ctx, c, in.(*I)) }
	info.targets = func(c *Call, in any) ([]access.Target, error) { return op.Targets(c, in.(*I)) }
	info.describe()
	key := p.Version + "\x00" + op.Name
	if t.ops[key] != nil {
		panic("rpc: operation declared twice: " + p.ID + " " + op.Name)
	}
	t.ops[key], t.versions[p.Version] = info, p
}

func (i *Info) describe() {
	for _, f := range i.in.fields {
		i.Params = append(i.Params, f.name)
		if f.required {
			i.Required = append(i.Required, f.name)
		}
	}
	for _, f := range i.out.fields {
		i.Results = append(i.Results, f.name)
	}
}

// find returns the operation, or the product's error for an unknown version or
// action.
func (t *Table) find(version, name string) (*Info, error) {
	if t.versions[version] == nil {
		return nil, apierr.InvalidVersion
	}
	if op := t.ops[version+"\x00"+name]; op != nil {
		return op, nil
	}
	return nil, apierr.ActionNotFound
}

// Operations returns all operations, ordered by product and name.
func (t *Table) Operations() []*Info {
	out := make([]*Info, 0, len(t.ops))
	for _, op := range t.ops {
		out = append(out, op)
	}
	slices.SortFunc(out, func(a, b *Info) int {
		if c := strings.Compare(a.Product.ID, b.Product.ID); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// Catalogue writes the table as text, a line an operation: what a review of a
// changed API looks at.
func (t *Table) Catalogue() string {
	var b strings.Builder
	for _, op := range t.Operations() {
		fmt.Fprintf(&b, "%s %s %s\n", op.Product.ID, op.Product.Version, op.Name)
		fmt.Fprintf(&b, "  action %s, class %s, event %s%s\n", op.Action, op.Class, op.EventRW, op.flags())
		params := slices.Clone(op.Params)
		for i, p := range params {
			if slices.Contains(op.Required, p) {
				params[i] = p + "!"
			}
			if op.in.fields[i].masked {
				params[i] += "*"
			}
		}
		fmt.Fprintf(&b, "  in  %s\n  out %s\n", orNone(params), orNone(op.Results))
	}
	return b.String()
}

func orNone(names []string) string { return cmp.Or(strings.Join(names, " "), "-") }

func (i *Info) flags() string {
	var b strings.Builder
	for _, f := range []struct {
		set  bool
		name string
	}{
		{i.Rule.Writes, "writes"}, {i.Rule.Creates, "creates"}, {i.Rule.OwnerGoverns, "owner governs"},
		{i.Rule.OwnerOfRetired, "owner if retired"}, {i.NoTrail, "no trail"}, {i.DryRun, "dry run"},
		{i.Rule.Callers&access.Accounts != 0, "accounts"},
		{i.Rule.Callers&access.Services != 0, "services"},
		{i.Rule.Callers&access.Operators != 0, "operators"},
	} {
		if f.set {
			b.WriteString(", " + f.name)
		}
	}
	return b.String()
}
