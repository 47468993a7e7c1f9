package ram

import (
	"slices"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// holder is whose access keys a request is about: a RAM user of the caller's
// account, or, if user is empty, the account's root user.
type holder struct{ account, user string }

// keyHolder finds the holder: the user named, else the caller itself. ok is
// false for a caller that can hold no keys, such as a role session.
func keyHolder(c *rpc.Call, named UserName) (h holder, ok bool) {
	h = holder{account: c.Account(), user: string(named)}
	if h.user == "" && c.Principal.Kind == identity.User {
		h.user = c.Principal.Name
	}
	return h, h.user != "" || c.Principal.Kind == identity.Root
}

// keyTargets is the user whose keys the request is about. Root's own keys are a
// thing that only root, whom no policy governs, can ask about.
func keyTargets(c *rpc.Call, named UserName) ([]access.Target, error) {
	h, ok := keyHolder(c, named)
	switch {
	case !ok:
		t := anyUser(c)
		t.Missing = rpc.BadParam{Field: "UserName", Fault: rpc.Missing, Why: "the caller has no access keys of its own"}
		return []access.Target{t}, nil
	case h.user == "":
		return []access.Target{ownTarget(c, "root")}, nil
	}
	t, _, err := userTarget(c, h.user)
	return []access.Target{t}, err
}

// ids returns the ids of the holder's keys, oldest first.
func (h holder) ids(v *store.View) ([]string, error) {
	if h.user == "" {
		a, err := store.Accounts.Get(v, store.AccountKey(h.account))
		if err != nil {
			return nil, err
		}
		return a.RootKeys, nil
	}
	u, err := store.Users.Get(v, store.UserKey(h.account, h.user))
	if err != nil {
		return nil, err
	}
	return u.AccessKeys, nil
}

// change lets edit change the list of the holder's keys and bumps the epoch. It
// returns the holder's user record, nil for root.
func (h holder) change(tx *store.Tx, edit func(ids []string) ([]string, error)) (*store.User, error) {
	tx.BumpEpoch(h.account)
	if h.user == "" {
		key := store.AccountKey(h.account)
		a, err := store.Accounts.Read(tx, key)
		if err != nil {
			return nil, err
		}
		if a.RootKeys, err = edit(a.RootKeys); err == nil {
			store.Accounts.Put(tx, key, a)
		}
		return nil, err
	}
	key := store.UserKey(h.account, h.user)
	u, err := store.Users.Read(tx, key)
	if err != nil {
		return nil, err
	}
	if u.AccessKeys, err = edit(u.AccessKeys); err == nil {
		store.Users.Put(tx, key, u)
	}
	return u, err
}

// without returns ids with id taken out; ok is false if it is not among them.
func without(ids []string, id string) (rest []string, ok bool) {
	i := slices.Index(ids, id)
	if i < 0 {
		return ids, false
	}
	return slices.Delete(ids, i, i+1), true
}
