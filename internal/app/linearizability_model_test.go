package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/opensesame-kms/opensesame/internal/client"
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
	linForbidden    = "Forbidden.NoPermission"
	linMissing      = "Forbidden.ResourceNotFound"
	linExists       = "Rejected.ResourceExist"
	linAttached     = "EntityAlreadyExists.User.Policy"
	linNotAttached  = "EntityNotExist.User.Policy"
	linAnyUnderFire = "ServiceUnavailableTemporary"
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
	cells int
	root  cred
	users []cred

	mu     sync.Mutex
	url    string
	ca     []byte
	moved  chan struct{} // closed when url changes
	byKey  map[string]*client.Client
	writes int // confirmed
	// onWrite, if not nil, is told the number of each confirmed write.
	onWrite func(n int)

	start time.Time
	ops   []porcupine.Operation
}

// move says where the server is now.
func (w *linWorld) move(url string, ca []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.moved != nil {
		close(w.moved)
	}
	for _, c := range w.byKey {
		c.CloseIdleConnections()
	}
	w.url, w.ca, w.moved, w.byKey = url, ca, make(chan struct{}), map[string]*client.Client{}
}

// as returns a client that signs with the credential, and what tells that its
// server is gone.
func (w *linWorld) as(c cred) (*client.Client, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey[c.AccessKeyID] == nil {
		cl, err := linClient(w.url, w.ca, c)
		if err != nil {
			return nil, nil, err
		}
		w.byKey[c.AccessKeyID] = cl
	}
	return w.byKey[c.AccessKeyID], w.moved, nil
}
