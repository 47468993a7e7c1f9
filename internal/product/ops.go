package product

import "github.com/opensesame-kms/opensesame/internal/rpc"

// Register declares the operations: the table of contents of this package.
func (s *Service) Register(t *rpc.Table) {
	rpc.Add(t, rpc.OpenSesame, s.createAccount())
	rpc.Add(t, rpc.OpenSesame, s.listAccounts())
	rpc.Add(t, rpc.OpenSesame, s.describeAccount())
	rpc.Add(t, rpc.OpenSesame, s.suspendAccount())
	rpc.Add(t, rpc.OpenSesame, s.resumeAccount())
	rpc.Add(t, rpc.OpenSesame, s.resetRootKey())
	rpc.Add(t, rpc.OpenSesame, s.describeAccountLimits())
	rpc.Add(t, rpc.OpenSesame, s.setAccountLimits())

	rpc.Add(t, rpc.OpenSesame, s.backup())
	rpc.Add(t, rpc.OpenSesame, s.confirmRestore())

	rpc.Add(t, rpc.OpenSesame, s.createService())
	rpc.Add(t, rpc.OpenSesame, s.updateService())
	rpc.Add(t, rpc.OpenSesame, s.listServices())
	rpc.Add(t, rpc.OpenSesame, s.describeService())

	rpc.Add(t, rpc.OpenSesame, s.createServiceCredential())
	rpc.Add(t, rpc.OpenSesame, s.listServiceCredentials())
	rpc.Add(t, rpc.OpenSesame, s.disableServiceCredential())
	rpc.Add(t, rpc.OpenSesame, s.enableServiceCredential())
	rpc.Add(t, rpc.OpenSesame, s.deleteServiceCredential())

	rpc.Add(t, rpc.OpenSesame, s.registerProduct())
	rpc.Add(t, rpc.OpenSesame, s.updateProduct())
	rpc.Add(t, rpc.OpenSesame, s.listProducts())
	rpc.Add(t, rpc.OpenSesame, s.describeProduct())
	rpc.Add(t, rpc.OpenSesame, s.retireProduct())
}
