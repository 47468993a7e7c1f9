package app

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/audit"
	"github.com/opensesame-kms/opensesame/internal/audit/record"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Revived is what a restore brought back although somebody had withdrawn it
// after the backup was made, by what it is.
type Revived struct {
	AccessKeys, Attachments, Secrets []RevivedThing
	// Other are further withdrawals since the backup, all of which are undone.
	Other []RevivedThing
}

// RevivedThing is one such thing, and how it had been withdrawn.
type RevivedThing struct {
	Account string    `json:",omitempty"` // whose it is; empty for the platform's
	Name    string    // access key id; "policy on user name"; name of the secret
	By      string    // operation
	Who     string    // who called it
	At      time.Time // when
}

// withdrawal is an event that took something away.
type withdrawal struct{ *record.Record }

// clockMargin is how much earlier than the backup a request can have come in
// whose change is not in it.
const clockMargin = time.Minute

// withdrawing are the beginnings of the names of operations that take something
// away.
var withdrawing = []string{"Delete", "Detach", "Disable", "Suspend", "Retire", "Remove", "Cancel", "Revoke", "Schedule", "Release"}

func withdraws(r *record.Record) bool {
	if r.Kind != record.KindCall || r.RW != record.Write || r.ErrorCode != "" {
		return false
	}
	if strings.HasPrefix(r.Operation, "Update") {
		return r.Params["Status"] == store.Inactive || r.Params["NewStatus"] == store.Inactive
	}
	return slices.ContainsFunc(withdrawing, func(p string) bool { return strings.HasPrefix(r.Operation, p) })
}

// withdrawnSince reads an audit log for what was withdrawn after a backup was
// begun. It writes nothing.
func withdrawnSince(dir string, created time.Time) ([]withdrawal, error) {
	var out []withdrawal
	seen := map[string]bool{} // a record may be in a log twice
	n := 0
	err := audit.Read(dir, 0, func(index uint64, payload []byte) error {
		n++
		r, err := record.Unmarshal(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", index, err)
		}
		if id := fmt.Sprint(r.ID(), r.Part); withdraws(r) && r.Time.After(created.Add(-clockMargin)) && !seen[id] {
			seen[id] = true
			out = append(out, withdrawal{r})
		}
		return nil
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("it holds no record")
	}
	return out, err
}

// revived compares withdrawals with the restored state.
func revived(v *store.View, region string, gone []withdrawal) *Revived {
	out := &Revived{}
	for _, w := range gone {
		switch {
		case w.accessKeys(v, out):
		case strings.HasPrefix(w.Operation, "Detach"):
			w.attachment(v, out)
		case w.Operation == "DeleteSecret":
			w.secrets(v, region, out)
		default:
			out.Other = append(out.Other, w.thing("", w.resources()))
		}
	}
	return out
}

func (w withdrawal) thing(account, name string) RevivedThing {
	if account == "" && len(w.Accounts) > 0 {
		account = w.Accounts[len(w.Accounts)-1] // the thing's owner comes after the caller's account
	}
	return RevivedThing{Account: account, Name: name, By: w.Operation, Who: w.Identity.UserName, At: w.Time}
}

func (w withdrawal) resources() string {
	var names []string
	for _, r := range w.Resources {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// accessKeys reports whether the withdrawal was of an access key, be it a user's
// or a service's.
func (w withdrawal) accessKeys(v *store.View, out *Revived) (any bool) {
	for _, r := range w.Resources {
		if !strings.HasSuffix(r.Type, "::AccessKey") && !strings.HasSuffix(r.Type, "::ServiceCredential") {
			continue
		}
		any = true
		if k, err := store.AccessKeys.Get(v, r.Name); err == nil && k.Status == store.Active {
			out.AccessKeys = append(out.AccessKeys, w.thing(k.Account, k.ID))
		}
	}
	return any
}

func (w withdrawal) attachment(v *store.View, out *Revived) {
	user, role, policy := w.Params["UserName"], w.Params["RoleName"], w.Params["PolicyName"]
	for _, account := range w.Accounts {
		var list []store.Attachment
		on := "user " + user
		if user != "" {
			if u, err := store.Users.Get(v, store.UserKey(account, user)); err == nil {
				list = u.Policies
			}
		} else if r, err := store.Roles.Get(v, store.RoleKey(account, role)); err == nil {
			on, list = "role "+r.Name, r.Policies
		}
		for _, a := range list {
			if a.Name == policy && a.Type == w.Params["PolicyType"] {
				out.Attachments = append(out.Attachments, w.thing(account, a.Type+" policy "+a.Name+" on "+on))
			}
		}
	}
}

func (w withdrawal) secrets(v *store.View, region string, out *Revived) {
	for _, account := range w.Accounts {
		for _, r := range w.Resources {
			s, err := store.Secrets.Get(v, store.SecretKey(region, account, r.Name))
			if err == nil && (w.SecretID == "" || w.SecretID == s.SecretID) {
				out.Secrets = append(out.Secrets, w.thing(s.Account, s.Name))
			}
		}
	}
}
