package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// The world of these histories is a few cells that have nothing to do with one
// another: a secret, and a RAM user who may read and write it while a policy is
// attached to them. The root user changes all of it.

// linKind is an operation on a cell, by the root user or by the cell's own.
type linKind int

const (
	linRead     linKind = iota // GetSecretValue, root
	linReadUser                // GetSecretValue, user
	linPut                     // PutSecretValue, root
	linPutUser                 // PutSecretValue, user
	linCreate                  // CreateSecret
	linDelete                  // DeleteSecret, for good
	linAttach                  // AttachPolicyToUser
	linDetach                  // DetachPolicyFromUser
)

func (k linKind) String() string {
	return [...]string{"read", "read as user", "put", "put as user", "create", "delete", "attach", "detach"}[k]
}

// linMix is how often each kind is drawn: twice as much reading as writing.
var linMix = []linKind{
	linReadUser, linReadUser, linReadUser, linReadUser, linReadUser, linRead, linRead,
	linPut, linPut, linPutUser, linPutUser, linCreate, linDelete, linAttach, linAttach, linDetach,
}

func (k linKind) byUser() bool { return k == linReadUser || k == linPutUser }
func (k linKind) writes() bool { return k != linRead && k != linReadUser }

type linInput struct {
	cell  int
	kind  linKind
	value string // of a put or create; no other operation of the history has it
}

// linOutput is the answer: a code of refusal, or the value of a read. An
// operation whose outcome is unknown has none at all.
type linOutput struct{ code, value string }

// linState is a cell.
type linState struct {
	exists, allowed bool
	value           string
}

// The codes of refusal in the model.
const (
	linForbidden   = "Forbidden.NoPermission"
	linMissing     = "Forbidden.ResourceNotFound"
	linExists      = "Rejected.ResourceExist"
	linAttached    = "EntityAlreadyExists.User.Policy"
	linNotAttached = "EntityNotExist.User.Policy"
)

// apply is the whole sequential specification: the answer and what comes after.
func (s linState) apply(in linInput) (linOutput, linState) {
	refuse := func(code string) (linOutput, linState) { return linOutput{code: code}, s }
	if in.kind.byUser() && !s.allowed {
		return refuse(linForbidden)
	}
	next := s
	switch in.kind {
	case linAttach, linDetach:
		want := in.kind == linAttach
		if s.allowed == want {
			return refuse(map[bool]string{true: linAttached, false: linNotAttached}[want])
		}
		next.allowed = want
		return linOutput{}, next
	case linCreate:
		if s.exists {
			return refuse(linExists)
		}
		next.exists, next.value = true, in.value
		return linOutput{}, next
	}
	if !s.exists {
		return refuse(linMissing)
	}
	switch in.kind {
	case linPut, linPutUser:
		next.value = in.value
	case linDelete:
		next.exists, next.value = false, ""
	default:
		return linOutput{value: s.value}, s
	}
	return linOutput{}, next
}

// linModel hands the specification to porcupine.
var linModel = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		cells := map[int][]porcupine.Operation{}
		for _, op := range h {
			c := op.Input.(linInput).cell
			cells[c] = append(cells[c], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range cells {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return linState{} },
	Step: func(state, input, output any) (bool, any) {
		want, next := state.(linState).apply(input.(linInput))
		// What has no answer takes effect at any time after its call, or, since it
		// never returns, after all that was looked at: then it never did.
		return output == nil || output == want, next
	},
	DescribeOperation: func(input, output any) string {
		in := input.(linInput)
		if output == nil {
			return fmt.Sprintf("%s %s: unknown", in.kind, in.value)
		}
		out := output.(linOutput)
		return fmt.Sprintf("%s %s: %s%s", in.kind, in.value, out.code, out.value)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

// linWorld is an account with its cells, on a server that may move.
type linWorld struct {
	root  cred
	users []cred // by cell
	start time.Time
	// onWrite, if not nil, is told the number of each confirmed write.
	onWrite func(n int)

	mu      sync.Mutex
	url     string
	http    *http.Client
	clients map[string]*client.Client // by access key id
	moved   chan struct{}             // closed when the server has moved
	writes  int                       // confirmed
	ops     []porcupine.Operation
}

// moveTo says which server the world is on.
func (w *linWorld) moveTo(url string, ca []byte) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.http != nil {
		w.http.CloseIdleConnections()
		close(w.moved)
	}
	w.url, w.clients, w.moved = url, map[string]*client.Client{}, make(chan struct{})
	w.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
}

// as returns a client that signs with the credential, and what tells that the
// server has moved since.
func (w *linWorld) as(c cred) (*client.Client, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clients[c.AccessKeyID] == nil {
		cl, err := client.New(client.Config{
			Endpoint: w.url, HTTPClient: w.http, Region: "cn-hangzhou",
			AccessKeyID: c.AccessKeyID, AccessKeySecret: mask.NewText(c.AccessKeySecret),
		})
		if err != nil {
			return nil, nil, err
		}
		w.clients[c.AccessKeyID] = cl
	}
	return w.clients[c.AccessKeyID], w.moved, nil
}

// must makes a call that sets the world up. In the build that answers too early
// the next one may not see yet what it needs, and is tried again.
func (w *linWorld) must(t *testing.T, c cred, product, operation string, params p, out any) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		cl, _, err := w.as(c)
		if err == nil {
			err = cl.Call(t.Context(), product, operation, params, out)
		}
		if err == nil {
			return
		}
		if !earlyAckBuild || time.Now().After(end) {
			t.Fatalf("%s: %v", operation, err)
		}
	}
}

// setUp makes the account and the users, whose policies are not attached yet.
func (w *linWorld) setUp(t *testing.T, operator cred, cells int) {
	t.Helper()
	var made struct {
		Account   struct{ AccountId string }
		AccessKey struct{ AccessKeyId, AccessKeySecret string }
	}
	w.must(t, operator, "opensesame", "CreateAccount", nil, &made)
	w.root = cred{AccessKeyID: made.AccessKey.AccessKeyId, AccessKeySecret: made.AccessKey.AccessKeySecret}
	for cell := range cells {
		name := linName(cell)
		w.must(t, w.root, "ram", "CreateUser", p{"UserName": name}, nil)
		w.must(t, w.root, "ram", "CreatePolicy", p{
			"PolicyName":     name,
			"PolicyDocument": allow("acs:kms:*:"+made.Account.AccountId+":secret/"+name, "kms:GetSecretValue", "kms:PutSecretValue"),
		}, nil)
		w.must(t, w.root, "ram", "CreateAccessKey", p{"UserName": name}, &made)
		w.users = append(w.users, cred{AccessKeyID: made.AccessKey.AccessKeyId, AccessKeySecret: made.AccessKey.AccessKeySecret})
	}
	w.start = time.Now()
}

// linName names the secret, the user and the policy of a cell.
func linName(cell int) string { return fmt.Sprintf("cell-%d", cell) }

// call is the operation on the wire. Version ids follow the values, for both
// are used once.
func (in linInput) call() (product, operation string, params p) {
	secret := p{"SecretName": linName(in.cell)}
	policy := p{"UserName": linName(in.cell), "PolicyName": linName(in.cell), "PolicyType": "Custom"}
	switch in.kind {
	case linPut, linPutUser:
		secret["VersionId"], secret["SecretData"] = in.value, in.value
		return "kms", "PutSecretValue", secret
	case linCreate:
		secret["VersionId"], secret["SecretData"] = in.value, in.value
		return "kms", "CreateSecret", secret
	case linDelete:
		secret["ForceDeleteWithoutRecovery"] = "true"
		return "kms", "DeleteSecret", secret
	case linAttach:
		return "ram", "AttachPolicyToUser", policy
	case linDetach:
		return "ram", "DetachPolicyFromUser", policy
	default:
		return "kms", "GetSecretValue", secret
	}
}

// client makes random operations and records them, wherever the server is, as
// long as more says so of the number it has made.
func (w *linWorld) client(t *testing.T, id int, more func(i int) bool) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), uint64(id)))
	for i := 0; more(i); i++ {
		in := linInput{cell: rng.IntN(len(w.users)), kind: linMix[rng.IntN(len(linMix))]}
		if in.kind == linPut || in.kind == linPutUser || in.kind == linCreate {
			in.value = fmt.Sprintf("%d-%d", id, i)
		}
		if !w.do(t, id, in) {
			return
		}
	}
}

// do makes one operation; false ends the client.
func (w *linWorld) do(t *testing.T, id int, in linInput) bool {
	who := w.root
	if in.kind.byUser() {
		who = w.users[in.cell]
	}
	c, moved, err := w.as(who)
	if err != nil {
		t.Error(err)
		return false
	}
	var answer struct{ SecretData string }
	product, operation, params := in.call()
	op := porcupine.Operation{ClientId: id, Input: in, Call: int64(time.Since(w.start))}
	err = c.Call(t.Context(), product, operation, params, &answer)
	op.Return = int64(time.Since(w.start))
	var refused *client.Error
	switch {
	case err == nil:
		out := linOutput{}
		if !in.kind.writes() {
			out.value = answer.SecretData
		}
		op.Output = out
	case errors.As(err, &refused) && refused.Status != http.StatusServiceUnavailable:
		op.Output = linOutput{code: refused.Code}
	default: // 503, or the server died: perhaps after the change
		op.Return = math.MaxInt64
	}
	w.add(op, err == nil && in.kind.writes())
	if err == nil || refused != nil {
		return true
	}
	select {
	case <-moved:
		return true
	case <-time.After(time.Minute):
		t.Errorf("%s: %v, and no other server came", operation, err)
		return false
	}
}

// add keeps the operation in the history, unless it is a read of unknown
// outcome, which tells nothing.
func (w *linWorld) add(op porcupine.Operation, confirmedWrite bool) {
	w.mu.Lock()
	if op.Output != nil || op.Input.(linInput).kind.writes() {
		w.ops = append(w.ops, op)
	}
	n := 0
	if confirmedWrite {
		w.writes++
		n = w.writes
	}
	w.mu.Unlock()
	if n > 0 && w.onWrite != nil {
		w.onWrite(n)
	}
}

// confirmed is the number of confirmed writes.
func (w *linWorld) confirmed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}

// run lets clients loose on the world and returns what porcupine thinks of the
// history. Where that is not what is wanted, a drawing of it is kept.
func (w *linWorld) run(t *testing.T, clients int, more func(i int) bool, want porcupine.CheckResult) {
	t.Helper()
	var wg sync.WaitGroup
	for id := range clients {
		wg.Go(func() { w.client(t, id, more) })
	}
	wg.Wait()
	kinds := map[linKind]int{} // that did what they are for
	for _, op := range w.ops {
		if out, ok := op.Output.(linOutput); ok && out.code == "" {
			kinds[op.Input.(linInput).kind]++
		}
	}
	for _, k := range linMix {
		if kinds[k] == 0 {
			t.Errorf("no %s succeeded in a history of %d operations", k, len(w.ops))
		}
	}
	got, info := porcupine.CheckOperationsVerbose(linModel, w.ops, time.Minute)
	if got == want {
		return
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("linearizability-%d.html", time.Now().UnixNano()))
	err := porcupine.VisualizePath(linModel, info, path)
	t.Errorf("the history is %s, want %s; it is drawn in %s (%v)", got, want, path, err)
}
