package sts

import "github.com/opensesame-kms/opensesame/internal/rpc"

// Register adds the operations of the package to the table.
func (s *Service) Register(t *rpc.Table) {
	rpc.Add(t, rpc.STS, s.assumeRole())
	rpc.Add(t, rpc.STS, s.getCallerIdentity())
}
