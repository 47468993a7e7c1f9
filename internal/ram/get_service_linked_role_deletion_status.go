package ram

import (
	"context"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/policy"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// DeletionTaskID names the deletion of a service-linked role:
// task/acs-service-role/<service>/<role name>/<uuid>, 26 to 255 characters.
type DeletionTaskID struct {
	Text string
	// Service and ID are its parts.
	Service, ID string
}

// BindParam implements rpc.Binder.
func (d *DeletionTaskID) BindParam(text string) error {
	if len(text) < 26 || len(text) > 255 {
		return rpc.BadParam{Fault: rpc.Length, Why: "it has 26 to 255 characters"}
	}
	rest, ok := strings.CutPrefix(text, "task/acs-service-role/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || !only(rest, "._-/") || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return rpc.BadParam{Fault: rpc.Value, Why: "want task/acs-service-role/<service>/<role name>/<id>"}
	}
	*d = DeletionTaskID{Text: text, Service: parts[0], ID: parts[2]}
	return nil
}

// GetServiceLinkedRoleDeletionStatusInput holds the parameters of
// GetServiceLinkedRoleDeletionStatus.
type GetServiceLinkedRoleDeletionStatusInput struct {
	DeletionTaskId DeletionTaskID `param:"DeletionTaskId,required"`
}

// RoleUsage names things of one region that keep a role in use.
type RoleUsage struct {
	Region    string
	Resources RoleResources
}

// RoleResources is a list of resources as the wire has it.
type RoleResources struct{ Resource []string }

// RoleUsages is a list of usages as the wire has it.
type RoleUsages struct{ RoleUsage []RoleUsage }

// DeletionReason says why a deletion failed.
type DeletionReason struct {
	Message    string
	RoleUsages RoleUsages
}

// GetServiceLinkedRoleDeletionStatusOutput is the answer of
// GetServiceLinkedRoleDeletionStatus; Reason is there if the task failed.
type GetServiceLinkedRoleDeletionStatusOutput struct {
	Status string
	Reason *DeletionReason `wire:"omitempty"`
}

func (s *Service) getServiceLinkedRoleDeletionStatus() rpc.Op[GetServiceLinkedRoleDeletionStatusInput, GetServiceLinkedRoleDeletionStatusOutput] {
	return rpc.Op[GetServiceLinkedRoleDeletionStatusInput, GetServiceLinkedRoleDeletionStatusOutput]{
		Name: "GetServiceLinkedRoleDeletionStatus", Class: throttle.ResourceManager,
		Targets: func(c *rpc.Call, in *GetServiceLinkedRoleDeletionStatusInput) ([]access.Target, error) {
			t := ownTarget(c, "*")
			t.Keys = policy.MapEnv{"ram:ServiceName": {in.DeletionTaskId.Service}}
			task, err := store.RoleDeletions.Get(c.View, store.RoleDeletionKey(c.Account(), in.DeletionTaskId.ID))
			if err == nil && task.ID != in.DeletionTaskId.Text {
				// The service that was judged is the one in the id.
				err = store.ErrNotFound
			}
			err = t.Absent(err, apierr.DeletionTaskNotFound)
			return []access.Target{t}, err
		},
		Func: s.doGetServiceLinkedRoleDeletionStatus,
	}
}

func (s *Service) doGetServiceLinkedRoleDeletionStatus(_ context.Context, c *rpc.Call, in *GetServiceLinkedRoleDeletionStatusInput) (*GetServiceLinkedRoleDeletionStatusOutput, error) {
	task, err := store.RoleDeletions.Get(c.View, store.RoleDeletionKey(c.Account(), in.DeletionTaskId.ID))
	if err != nil {
		return nil, err
	}
	out := &GetServiceLinkedRoleDeletionStatusOutput{Status: task.Status}
	if task.Status == store.DeletionFailed {
		out.Reason = &DeletionReason{Message: task.Message, RoleUsages: RoleUsages{[]RoleUsage{
			{Region: task.Region, Resources: RoleResources{task.Resources}},
		}}}
	}
	return out, nil
}
