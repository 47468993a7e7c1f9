// Package ramtest runs the operations of packages ram and sts as callers meet
// them: signed requests over HTTP, the whole pipeline, a store on a real etcd.
// Only tests import it.
package ramtest

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/clock"
	"github.com/opensesame-kms/opensesame/internal/etcdnode"
	"github.com/opensesame-kms/opensesame/internal/gateway"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/mask"
	"github.com/opensesame-kms/opensesame/internal/ram"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/sts"
)

// The accounts, service and operator that every Server has.
const (
	Account  = "1000000000000001"
	Other    = "1000000000000002"
	Service  = "kms.alb.aliyuncs.com"
	SLR      = "AliyunServiceRoleForAlbAccessKMS"
	SLRArn   = "acs:ram::" + Account + ":role/aliyunserviceroleforalbaccesskms"
	SLRTrust = `{"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"Service":["` + Service + `"]}}],"Version":"1"}`
)

// Region of the server.
const Region = "cn-hangzhou"

// Creds are the credentials of a caller.
type Creds struct {
	ID            string
	Secret, Token mask.Text
}

// Server is a running server.
type Server struct {
	Store *store.Store
	Ring  *keyring.Ring
	Clock *clock.Manual

	// Root and OtherRoot are the root users of Account and Other; Svc and
	// Operator are the service's and the operator's credentials.
	Root, OtherRoot, Svc, Operator Creds

	url string
}

// Start runs a server until the test ends.
func Start(t *testing.T) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := &Server{Clock: clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	s.Ring = keyring.New(keyring.Epoch{ID: 1, Key: mask.NewBytes(make([]byte, keyring.KeySize))})
	node, err := etcdnode.Start(ctx, etcdnode.Config{Dir: t.TempDir(), FastTicks: true})
	must(t, err)
	t.Cleanup(func() { must(t, node.Close()) })
	s.Store, err = store.Open(ctx, store.Config{
		Client: node.Client(), MAC: s.Ring, Keyring: s.Ring.Load, KeyringRemoved: s.Ring.Remove,
		SingleVoter: node.SingleVoter, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, Node: "n1",
	})
	must(t, err)
	t.Cleanup(func() { must(t, s.Store.Close()) })
	s.seed(ctx, t)
	log, _, err := audit.Open(audit.Config{Dir: t.TempDir(), SegmentSize: 1 << 20, LateAfter: 20 * time.Second})
	must(t, err)
	t.Cleanup(func() { must(t, log.Close(context.Background())) })
	refusals := audit.NewRefusals(func([]audit.Refusal) {})
	t.Cleanup(refusals.Close)
	table := rpc.NewTable()
	(&ram.Service{Ring: s.Ring}).Register(table)
	(&sts.Service{Ring: s.Ring}).Register(table)
	quiet := slog.New(slog.NewTextHandler(t.Output(), nil))
	web := httptest.NewServer(&gateway.Server{Logger: quiet, Pipeline: rpc.NewPipeline(rpc.Config{
		Table: table, Store: s.Store, Resolver: &identity.Resolver{Ring: s.Ring},
		Nonces: identity.NewNonces(identity.NonceConfig{Capacity: 1 << 16}), Log: log, Refusals: refusals,
		Clock: s.Clock, Logger: quiet, Region: Region, Node: "n1",
	})})
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// seed makes the keyring and what no operation of these packages makes.
func (s *Server) seed(ctx context.Context, t *testing.T) {
	t.Helper()
	s.Commit(ctx, t, func(tx *store.Tx) error {
		for _, p := range []keyring.Purpose{keyring.MAC, keyring.Token, keyring.AccessKey} {
			name, sealed, err := s.Ring.Generate(p, s.Clock.Now())
			if err != nil {
				return err
			}
			tx.PutKeyring(name, sealed)
		}
		return nil
	})
	s.Commit(ctx, t, func(tx *store.Tx) error {
		now := s.Clock.Now()
		s.Root = s.key(t, tx, &store.AccessKey{Kind: store.OwnerRoot, Account: Account})
		s.OtherRoot = s.key(t, tx, &store.AccessKey{Kind: store.OwnerRoot, Account: Other})
		s.Svc = s.key(t, tx, &store.AccessKey{Kind: store.OwnerService, Owner: Service})
		s.Operator = s.key(t, tx, &store.AccessKey{Kind: store.OwnerOperator, Owner: "operator"})
		for id, key := range map[string]string{Account: s.Root.ID, Other: s.OtherRoot.ID} {
			store.Accounts.Put(tx, store.AccountKey(id), &store.Account{
				ID: id, Status: store.Active, CreatedAt: now, RootKeys: []string{key},
			})
		}
		store.Operators.Put(tx, "operator", &store.Operator{Name: "operator", AccessKeys: []string{s.Operator.ID}, CreatedAt: now})
		store.Services.Put(tx, Service, &store.Service{
			Name: Service, DisplayName: "Application Load Balancer", RoleName: SLR,
			PolicyName: "AliyunServiceRolePolicyForAlbAccessKMS", AccessKeys: []string{s.Svc.ID}, CreatedAt: now,
			Policy: `{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"acs:kms:*:*:secret/alb!*"}]}`,
		})
		return nil
	})
}

func (s *Server) key(t *testing.T, tx *store.Tx, key *store.AccessKey) Creds {
	t.Helper()
	id, secret := identity.NewAccessKey()
	sealed, err := identity.SealSecret(s.Ring, id, secret)
	must(t, err)
	key.ID, key.Sealed, key.Status, key.CreatedAt = id, sealed, store.Active, s.Clock.Now()
	store.AccessKeys.Put(tx, id, key)
	return Creds{ID: id, Secret: secret}
}

// Commit changes the store behind the server's back.
func (s *Server) Commit(ctx context.Context, t *testing.T, fn func(tx *store.Tx) error) {
	t.Helper()
	_, err := s.Store.Commit(ctx, nil, uuid.NewString(), fn)
	must(t, err)
}

// View returns the present state.
func (s *Server) View(t *testing.T) *store.View {
	t.Helper()
	v, err := s.Store.View(t.Context())
	must(t, err)
	return v
}

// P are the parameters of a request.
type P = map[string]string

// Call sends an operation and decodes the answer into out, unless that is nil.
// The error is nil or a *client.Error; anything else ends the test.
func (s *Server) Call(t *testing.T, as Creds, product, op string, params P, out any) *client.Error {
	t.Helper()
	c, err := client.New(client.Config{
		Endpoint: s.url, AccessKeyID: as.ID, AccessKeySecret: as.Secret, SecurityToken: as.Token, Now: s.Clock.Now,
	})
	must(t, err)
	err = c.Call(t.Context(), product, op, params, out)
	if refused := (*client.Error)(nil); errors.As(err, &refused) {
		return refused
	}
	must(t, err)
	return nil
}

// RAM is Call for an operation of RAM that must succeed.
func (s *Server) RAM(t *testing.T, as Creds, op string, params P, out any) {
	t.Helper()
	if err := s.Call(t, as, "ram", op, params, out); err != nil {
		t.Fatalf("%s: %v", op, err)
	}
}

// Refusal is a *client.Error that a test wants and need not handle.
type Refusal client.Error

// Refused sends an operation that must be refused with the code, and returns
// the refusal.
func (s *Server) Refused(t *testing.T, as Creds, product, op string, params P, code string) *Refusal {
	t.Helper()
	err := s.Call(t, as, product, op, params, nil)
	if err == nil {
		t.Fatalf("%s %v succeeded, want %s", op, params, code)
	}
	if err.Code != code {
		t.Fatalf("%s %v: %v, want %s", op, params, err, code)
	}
	return (*Refusal)(err)
}

// User makes a RAM user with an access key and, unless it is empty, a policy of
// its own.
func (s *Server) User(t *testing.T, root Creds, name, policy string) Creds {
	t.Helper()
	s.RAM(t, root, "CreateUser", P{"UserName": name}, nil)
	if policy != "" {
		s.RAM(t, root, "CreatePolicy", P{"PolicyName": "for-" + name, "PolicyDocument": policy}, nil)
		s.RAM(t, root, "AttachPolicyToUser", P{"PolicyType": "Custom", "PolicyName": "for-" + name, "UserName": name}, nil)
	}
	return s.Key(t, root, name)
}

// Key makes an access key for the user, or for the caller if name is empty.
func (s *Server) Key(t *testing.T, as Creds, name string) Creds {
	t.Helper()
	var out struct {
		AccessKey struct{ AccessKeyId, AccessKeySecret string }
	}
	s.RAM(t, as, "CreateAccessKey", P{"UserName": name}, &out)
	return Creds{ID: out.AccessKey.AccessKeyId, Secret: mask.NewText(out.AccessKey.AccessKeySecret)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
