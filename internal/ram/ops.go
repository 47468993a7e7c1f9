package ram

import "github.com/opensesame-kms/opensesame/internal/rpc"

// Register adds the operations of the package to the table.
func (s *Service) Register(t *rpc.Table) {
	rpc.Add(t, rpc.RAM, s.createUser())
	rpc.Add(t, rpc.RAM, s.getUser())
	rpc.Add(t, rpc.RAM, s.deleteUser())

	rpc.Add(t, rpc.RAM, s.createAccessKey())
	rpc.Add(t, rpc.RAM, s.listAccessKeys())
	rpc.Add(t, rpc.RAM, s.deleteAccessKey())

	rpc.Add(t, rpc.RAM, s.createPolicy())
	rpc.Add(t, rpc.RAM, s.getPolicy())
	rpc.Add(t, rpc.RAM, s.deletePolicy())

	rpc.Add(t, rpc.RAM, s.attachPolicyToUser())
	rpc.Add(t, rpc.RAM, s.detachPolicyFromUser())
	rpc.Add(t, rpc.RAM, s.attachPolicyToRole())
	rpc.Add(t, rpc.RAM, s.detachPolicyFromRole())

	rpc.Add(t, rpc.RAM, s.createRole())
	rpc.Add(t, rpc.RAM, s.getRole())
	rpc.Add(t, rpc.RAM, s.deleteRole())

	rpc.Add(t, rpc.ResourceManager, s.createServiceLinkedRole())
	rpc.Add(t, rpc.ResourceManager, s.deleteServiceLinkedRole())
	rpc.Add(t, rpc.ResourceManager, s.getServiceLinkedRoleDeletionStatus())
}
