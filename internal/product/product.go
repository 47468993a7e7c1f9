// Package product holds the registry of services, products and codes, and the
// operator's operations on it and on accounts.
//
// A service is who signs in: it has a credential, a service-linked role in
// every account that authorised it, and that role's policy. A service has
// products, which are what owners see and quotas count. A product has codes,
// the part of a default secret's name before the "!".
//
// An operator runs the server and has no part in what is kept in it. No
// operation here returns a secret's value, and the two that hand out a
// credential which could read one (ResetRootKey, and CreateServiceCredential
// but for a service's first) are refused unless the server is configured for
// such emergencies; each of their uses is recorded in the trail of every
// account that it concerns.
package product

import (
	"time"

	"github.com/opensesame-kms/opensesame/internal/keyring"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// Service holds what the operations need.
type Service struct {
	// Ring seals the secrets of access keys.
	Ring *keyring.Ring
	// AllowBreakGlass permits the operations that hand out a credential which
	// could read secrets that are there already.
	AllowBreakGlass bool
	// Backups makes backups; nil where the operations are declared only.
	Backups Backups
}

// DefaultQuota is how many free default secrets a product may keep in one
// account if nothing else is said.
const DefaultQuota = 100

// builtin is a service of the built-in catalogue with its products.
type builtin struct {
	service  store.Service
	products []store.Product
}

// catalogue is made after the publicly known service-linked roles of Alibaba
// Cloud.
func catalogue() []builtin {
	const (
		gateways = "invokekms.nativeapigw.aliyuncs.com"
		studio   = "kms-access.sfm.aliyuncs.com"
		alb      = "kms.alb.aliyuncs.com"
		ga       = "kms.ga.aliyuncs.com"
	)
	free, paid := []store.HostingMode{store.Free}, []store.HostingMode{store.Paid}
	return []builtin{
		{
			service: store.Service{
				Name: gateways, DisplayName: "AI Gateway and API Gateway", RoleName: "AliyunServiceRoleForNativeApiGwInvokeKMS",
				PolicyName: "AliyunServiceRolePolicyForNativeApiGwInvokeKMS", Policy: gatewayPolicy(gateways),
			},
			products: []store.Product{
				{ID: "ai-gateway", DisplayName: "AI Gateway", Codes: []string{"aigw", "ai-gateway"}, Modes: paid},
				{ID: "api-gateway", DisplayName: "API Gateway", Codes: []string{"apigw"}, Modes: paid},
			},
		},
		{
			service: store.Service{
				Name: studio, DisplayName: "Model Studio", RoleName: "AliyunServiceRoleForSFMAccessKMS",
				PolicyName: "AliyunServiceRolePolicyForSFMAccessKMS", Policy: rolePolicy(studio, "bailian", "bailian-apikey", "mcp"),
			},
			products: []store.Product{
				{ID: "model-studio", DisplayName: "Model Studio", Codes: []string{"bailian", "bailian-apikey", "mcp"}, Modes: free},
			},
		},
		{
			service: store.Service{
				Name: alb, DisplayName: "Application Load Balancer", RoleName: "AliyunServiceRoleForAlbAccessKMS",
				PolicyName: "AliyunServiceRolePolicyForAlbAccessKMS", Policy: rolePolicy(alb, "alb"),
			},
			products: []store.Product{
				{ID: "alb", DisplayName: "Application Load Balancer", Codes: []string{"alb"}, Modes: free},
			},
		},
		{
			service: store.Service{
				Name: ga, DisplayName: "Global Accelerator", RoleName: "AliyunServiceRoleForGaKms",
				PolicyName: "AliyunServiceRolePolicyForGaKms", Policy: rolePolicy(ga, "ga"),
			},
			products: []store.Product{
				{ID: "ga", DisplayName: "Global Accelerator", Codes: []string{"ga"}, Modes: free},
			},
		},
	}
}

// Seed stages the built-in catalogue. It is for the first start, in the
// transaction that makes the data.
func Seed(tx *store.Tx, now time.Time) {
	for _, b := range catalogue() {
		b.service.CreatedAt = now
		store.Services.Put(tx, b.service.Name, &b.service)
		store.RoleNames.Put(tx, store.RoleNameKey(b.service.RoleName), &store.RoleName{Name: b.service.RoleName, Service: b.service.Name})
		for _, p := range b.products {
			p.Service, p.Quota, p.CreatedAt = b.service.Name, DefaultQuota, now
			store.Products.Put(tx, p.ID, &p)
			for _, code := range p.Codes {
				store.Codes.Put(tx, code, &store.Code{Code: code, Product: p.ID, Service: p.Service})
			}
		}
	}
}
