package secrets

import "github.com/opensesame-kms/opensesame/internal/rpc"

// Register declares the operations: the table of contents of this package.
func (s *Service) Register(t *rpc.Table) {
	rpc.Add(t, rpc.KMS, s.createSecret())
	rpc.Add(t, rpc.KMS, s.deleteSecret())
	rpc.Add(t, rpc.KMS, s.describeRegions())
	rpc.Add(t, rpc.KMS, s.describeSecret())
	rpc.Add(t, rpc.KMS, s.getSecretValue())
	rpc.Add(t, rpc.KMS, s.listSecrets())
	rpc.Add(t, rpc.KMS, s.listSecretVersionIDs())
	rpc.Add(t, rpc.KMS, s.putSecretValue())
	rpc.Add(t, rpc.KMS, s.restoreSecret())
}
