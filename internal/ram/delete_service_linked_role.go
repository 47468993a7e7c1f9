package ram

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/arn"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DeleteServiceLinkedRoleInput holds the parameters of DeleteServiceLinkedRole.
type DeleteServiceLinkedRoleInput struct {
	RoleName RoleName `param:"RoleName,required"`
}

// DeleteServiceLinkedRoleOutput is the answer of DeleteServiceLinkedRole: the
// task whose outcome GetServiceLinkedRoleDeletionStatus tells.
type DeleteServiceLinkedRoleOutput struct{ DeletionTaskId string }

// deleteServiceLinkedRole is for the account's administrators and for the
// service's own managing session, each as far as their policies allow.
func (s *Service) deleteServiceLinkedRole() rpc.Op[DeleteServiceLinkedRoleInput, DeleteServiceLinkedRoleOutput] {
	return rpc.Op[DeleteServiceLinkedRoleInput, DeleteServiceLinkedRoleOutput]{
		Name: "DeleteServiceLinkedRole", Class: throttle.ResourceManager, Writes: true, OwnerGoverns: true,
		Targets: deleteServiceLinkedRoleTargets, Func: s.doDeleteServiceLinkedRole,
	}
}

func deleteServiceLinkedRoleTargets(c *rpc.Call, in *DeleteServiceLinkedRoleInput) ([]access.Target, error) {
	t := ownTarget(c, "*")
	name := string(in.RoleName)
	r, err := store.Roles.Get(c.View, store.RoleKey(c.Account(), name))
	switch {
	case err != nil:
		err = t.Absent(err, apierr.RoleNotFound)
	case r.Service == "":
		name, t.Missing = r.Name, apierr.NotServiceLinked
	default:
		name = r.Name // as it was made, whatever case the request has
		t.Managed = &access.Managed{Kind: access.ServiceLinkedRole, Service: r.Service}
		t.Keys = policy.MapEnv{"ram:ServiceName": {r.Service}}
	}
	c.Resource(typeRole, name)
	return []access.Target{t}, err
}

// doDeleteServiceLinkedRole decides and acts at once, so the task is over when
// its id is handed out. The role goes only if no default secret of its service
// is left in the account, pending deletion or not: the transaction compares the
// counter that each creation and purge of one writes.
func (s *Service) doDeleteServiceLinkedRole(ctx context.Context, c *rpc.Call, in *DeleteServiceLinkedRoleInput) (*DeleteServiceLinkedRoleOutput, error) {
	key := store.RoleKey(c.Account(), string(in.RoleName))
	return rpc.Update(ctx, c, func(tx *store.Tx) (*DeleteServiceLinkedRoleOutput, error) {
		r, err := store.Roles.Read(tx, key)
		if err != nil {
			return nil, err
		}
		id := uuid.NewString()
		task := &store.RoleDeletion{
			ID:      "task/acs-service-role/" + r.Service + "/" + r.Name + "/" + id,
			Service: r.Service, Status: store.DeletionSucceeded, CreatedAt: c.Now,
		}
		left, err := secretsLeft(c, tx, r.Service)
		if err != nil {
			return nil, err
		}
		if left.count > 0 {
			task.Status, task.Region, task.Resources = store.DeletionFailed, c.Region, left.first
			task.Message = fmt.Sprintf("Service-Linked Role %s cannot be deleted as it is in use by %s. Default secrets of the service that are left in the account: %d.",
				r.ARN(), r.Service, left.count)
		} else {
			store.Roles.Delete(tx, key)
			tx.BumpEpoch(r.Account)
		}
		store.RoleDeletions.Put(tx, store.RoleDeletionKey(r.Account, id), task)
		return &DeleteServiceLinkedRoleOutput{task.ID}, dropOldDeletions(c, tx)
	})
}

// maxLeft is how many of the secrets that are left a refusal names.
const maxLeft = 10

// leftover are the secrets that keep a role: how many, and the ARNs of the first.
type leftover struct {
	count int
	first []string
}

// secretsLeft finds the default secrets of the service in the account, and
// makes the transaction compare that none was made or purged since.
func secretsLeft(c *rpc.Call, tx *store.Tx, service string) (leftover, error) {
	var out leftover
	_, err := store.Counters.Read(tx, store.ServiceCounterKey(c.Region, c.Account(), service))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return out, err
	}
	err = store.Secrets.Scan(c.View, store.KMSPrefix(c.Region, c.Account()), func(_ string, sec *store.Secret) bool {
		if sec.Owner != nil && sec.Owner.Service == service {
			if out.count++; out.count <= maxLeft {
				out.first = append(out.first, arn.Secret(sec.Region, sec.Account, sec.Name).String())
			}
		}
		return true
	})
	return out, err
}

// maxDeletions is how many outcomes of deletions are kept for an account.
const maxDeletions = 50

// dropOldDeletions makes room for one more.
func dropOldDeletions(c *rpc.Call, tx *store.Tx) error {
	type kept struct {
		key string
		rec *store.RoleDeletion
	}
	var all []kept
	err := store.RoleDeletions.Scan(c.View, store.AccountPrefix(c.Account()), func(key string, rec *store.RoleDeletion) bool {
		all = append(all, kept{key, rec})
		return true
	})
	slices.SortFunc(all, func(a, b kept) int {
		return cmp.Or(a.rec.CreatedAt.Compare(b.rec.CreatedAt), strings.Compare(a.key, b.key))
	})
	for i := 0; i <= len(all)-maxDeletions; i++ {
		store.RoleDeletions.Delete(tx, all[i].key)
	}
	return err
}
