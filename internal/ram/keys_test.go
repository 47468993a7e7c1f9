package ram_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/ram/ramtest"
	"github.com/opensesame-kms/opensesame/internal/store"
)

const manageKeys = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*AccessKey*","Resource":"acs:ram:*:${account}:user/alice"}]}`

func keyIDs(t *testing.T, s *ramtest.Server, as ramtest.Creds, user string) []string {
	t.Helper()
	out := answer(t, s, as, "ram", "ListAccessKeys", P{"UserName": user})
	var ids []string
	for _, k := range out["AccessKeys"].(obj)["AccessKey"].([]any) {
		ids = append(ids, k.(obj)["AccessKeyId"].(string))
	}
	return ids
}

func TestAccessKeys(t *testing.T) {
	s := ramtest.Start(t)
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "alice"}, nil)
	none := answer(t, s, s.Root, "ram", "ListAccessKeys", P{"UserName": "alice"})
	same(t, "keys of a new user", none, obj{"AccessKeys": obj{"AccessKey": []any{}}})

	made := answer(t, s, s.Root, "ram", "CreateAccessKey", P{"UserName": "alice"})
	key := made["AccessKey"].(obj)
	id, secret := key["AccessKeyId"].(string), key["AccessKeySecret"].(string)
	if !strings.HasPrefix(id, "LTAI5t") || len(id) != 24 || len(secret) != 30 {
		t.Errorf("key id %q, secret of %d characters", id, len(secret))
	}
	shown := obj{"AccessKeyId": id, "Status": "Active", "CreateDate": now}
	delete(key, "AccessKeySecret")
	same(t, "CreateAccessKey", key, shown)
	list := answer(t, s, s.Root, "ram", "ListAccessKeys", P{"UserName": "alice"})
	same(t, "ListAccessKeys", list, obj{"AccessKeys": obj{"AccessKey": []any{shown}}})

	rec, err := store.AccessKeys.Get(s.View(t), id)
	if err != nil || strings.Contains(string(rec.Sealed), secret) {
		t.Errorf("the stored key holds its secret in the clear, or %v", err)
	}

	second := s.Key(t, s.Root, "alice")
	s.Refused(t, s.Root, "ram", "CreateAccessKey", P{"UserName": "alice"}, "LimitExceeded.User.AccessKey")
	same(t, "order", keyIDs(t, s, s.Root, "alice"), []string{id, second.ID})
	s.RAM(t, s.Root, "DeleteAccessKey", P{"UserName": "alice", "UserAccessKeyId": id}, nil)
	same(t, "after deletion", keyIDs(t, s, s.Root, "alice"), []string{second.ID})
	for _, params := range []P{
		{"UserName": "alice", "UserAccessKeyId": id},        // deleted
		{"UserName": "alice", "UserAccessKeyId": s.Root.ID}, // another's
		{"UserName": "alice", "UserAccessKeyId": "x/../y"},
	} {
		s.Refused(t, s.Root, "ram", "DeleteAccessKey", params, "EntityNotExist.User.AccessKey")
	}
	s.Refused(t, s.Root, "ram", "DeleteAccessKey", P{"UserName": "alice"}, "MissingParameter")
	for _, op := range []string{"CreateAccessKey", "ListAccessKeys", "DeleteAccessKey"} {
		s.Refused(t, s.Root, "ram", op, P{"UserName": "nobody", "UserAccessKeyId": "x"}, "EntityNotExist.User")
		s.Refused(t, s.Root, "ram", op, P{"UserName": "a b", "UserAccessKeyId": "x"}, "InvalidParameter.UserName.InvalidChars")
	}
	if err := s.Call(t, second, "sts", "GetCallerIdentity", nil, nil); err != nil {
		t.Errorf("the second key does not sign: %v", err)
	}
	s.Refused(t, ramtest.Creds{ID: id, Secret: second.Secret}, "sts", "GetCallerIdentity", nil, "InvalidAccessKeyId.NotFound")
}

func TestOwnAccessKeys(t *testing.T) {
	s := ramtest.Start(t)
	// Root's own, when no name is given.
	second := s.Key(t, s.Root, "")
	same(t, "root's keys", keyIDs(t, s, second, ""), []string{s.Root.ID, second.ID})
	s.Refused(t, s.Root, "ram", "CreateAccessKey", nil, "LimitExceeded.User.AccessKey")
	s.RAM(t, s.Root, "DeleteAccessKey", P{"UserAccessKeyId": second.ID}, nil)
	same(t, "root's keys", keyIDs(t, s, s.Root, ""), []string{s.Root.ID})

	// A user's own, by its policies.
	alice := s.User(t, s.Root, "alice", manageKeys)
	own := s.Key(t, alice, "")
	same(t, "alice's keys", keyIDs(t, s, own, ""), []string{alice.ID, own.ID})
	s.RAM(t, own, "DeleteAccessKey", P{"UserAccessKeyId": own.ID}, nil) // the very key that signs
	s.Refused(t, own, "ram", "ListAccessKeys", nil, "InvalidAccessKeyId.NotFound")
	bob := s.User(t, s.Root, "bob", manageKeys)
	for _, params := range []P{{}, {"UserName": "bob"}} {
		s.Refused(t, bob, "ram", "ListAccessKeys", params, "NoPermission")
	}

	// Services and operators have nothing to do here.
	for _, who := range []ramtest.Creds{s.Svc, s.Operator} {
		s.Refused(t, who, "ram", "CreateAccessKey", nil, "NoPermission")
		s.Refused(t, who, "ram", "CreateAccessKey", P{"UserName": "alice"}, "NoPermission")
		s.Refused(t, who, "ram", "CreateUser", P{"UserName": "eve"}, "NoPermission")
	}
}

// TestKeyLimitUnderConcurrency: many at once make no more than the limit.
func TestKeyLimitUnderConcurrency(t *testing.T) {
	s := ramtest.Start(t)
	s.RAM(t, s.Root, "CreateUser", P{"UserName": "alice"}, nil)
	var wg sync.WaitGroup
	errs := make([]*client.Error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = s.Call(t, s.Root, "ram", "CreateAccessKey", P{"UserName": "alice"}, nil) })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case err.Code != "LimitExceeded.User.AccessKey":
			t.Error(err)
		}
	}
	if ids := keyIDs(t, s, s.Root, "alice"); made != 2 || len(ids) != 2 {
		t.Errorf("%d keys were made, %d are listed, want 2", made, len(ids))
	}
	keys := 0
	err := store.AccessKeys.Scan(s.View(t), "", func(_ string, k *store.AccessKey) bool {
		if k.Owner == "alice" {
			keys++
		}
		return true
	})
	if err != nil || keys != 2 {
		t.Errorf("%d key records, %v, want 2", keys, err)
	}
}
