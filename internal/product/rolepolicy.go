package product

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// rolePolicy writes the policy of a service-linked role whose products keep
// secrets under the given codes: what the platform publishes for such roles,
// and RestoreSecret and the outcome of the role's deletion. A service without a
// code may still delete its role.
func rolePolicy(service string, codes ...string) string {
	secrets := ""
	if len(codes) > 0 {
		secrets = fmt.Sprintf(`{"Effect":"Allow","Action":["kms:CreateSecret","kms:DeleteSecret","kms:RestoreSecret","kms:DescribeSecret","kms:PutSecretValue","kms:UpdateSecret","kms:UpdateSecretVersionStage","kms:ListSecretVersionIds","kms:GetSecretValue"],"Resource":[%s]},`+
			`{"Effect":"Allow","Action":["kms:ListManagedQuotas","kms:ListSecrets","kms:GenerateDataKey","kms:Decrypt","kms:TagResource","kms:UntagResource"],"Resource":"*"},`,
			codeARNs(codes))
	}
	return `{"Version":"1","Statement":[` + secrets + deleteOwnRole(service) + `]}`
}

// gatewayPolicy is the wider policy that the platform publishes for the role
// of the gateways. The server's own rule stands above it: a managing session
// reaches only names under its own codes.
func gatewayPolicy(service string) string {
	return fmt.Sprintf(`{"Version":"1","Statement":[`+
		`{"Effect":"Allow","Action":["kms:ListKmsInstances","kms:ListKeys","kms:GenerateDataKey","kms:Decrypt","kms:CreateSecret","kms:DeleteSecret","kms:RestoreSecret","kms:UpdateSecret","kms:UpdateSecretVersionStage","kms:DescribeSecret","kms:GetSecretValue","kms:PutSecretValue","kms:ListSecretVersionIds","kms:ListSecrets","kms:ListManagedQuotas","kms:TagResource","kms:UntagResource"],"Resource":"*"},`+
		`%s]}`, deleteOwnRole(service))
}

func deleteOwnRole(service string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":["ram:DeleteServiceLinkedRole","ram:GetServiceLinkedRoleDeletionStatus"],"Resource":"*","Condition":{"StringEquals":{"ram:ServiceName":%q}}}`, service)
}

func codeARNs(codes []string) string {
	out := ""
	for i, c := range codes {
		if i > 0 {
			out += ","
		}
		out += fmt.Sprintf("%q", "acs:kms:*:*:secret/"+c+"!*")
	}
	return out
}

// maxServiceCodes bounds the codes of a service's products: so many fit into
// one policy, however long they are.
const maxServiceCodes = 64

// followCodes writes the service's role policy anew after the codes of one of
// its products changed. changed is that product with its new codes. The policy
// of the gateways names no codes and stays.
//
// Each change of codes writes the service's record, so that two at a time do
// not both start from the same list.
func followCodes(tx *store.Tx, changed *store.Product) error {
	svc, err := store.Services.Read(tx, changed.Service)
	if err != nil {
		return fmt.Errorf("service of the product: %w", err)
	}
	codes := slices.Clone(changed.Codes)
	err = store.Products.Scan(tx.View(), "", func(id string, p *store.Product) bool {
		if p.Service == svc.Name && id != changed.ID {
			codes = append(codes, p.Codes...)
		}
		return true
	})
	if err != nil {
		return err
	}
	if len(codes) > maxServiceCodes {
		return apierr.LimitExceeded.Msg("The products of the service %s would have %d codes; %d are allowed.", svc.Name, len(codes), maxServiceCodes)
	}
	if svc.Policy != gatewayPolicy(svc.Name) {
		slices.Sort(codes)
		svc.Policy = rolePolicy(svc.Name, codes...)
	}
	store.Services.Put(tx, svc.Name, svc)
	return nil
}

// takeCodes gives the codes to the product. A code belongs to one product, and
// passes to another only when no secret of it is left in any account. Since no
// secret is made under a code that is not registered, what the transaction's
// view shows of those left is exact.
func takeCodes(tx *store.Tx, p *store.Product, codes []string) error {
	for _, code := range codes {
		rec, err := store.Codes.Read(tx, code)
		switch {
		case err == nil && rec.Product == p.ID:
			continue
		case err == nil:
			return codeTaken(code, rec.Product)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		n, err := underCode(tx.View(), code, p.ID)
		if err != nil {
			return err
		}
		if n > 0 {
			return codeInUse(code, n)
		}
		store.Codes.Put(tx, code, &store.Code{Code: code, Product: p.ID, Service: p.Service})
		p.Codes = append(p.Codes, code)
	}
	return nil
}

// giveCodes takes codes from the product; they are free for any product then.
// A code with secrets stays. A secret that is made at the very moment of the
// removal keeps the code from passing to another product, and its own product
// can take the code back.
func giveCodes(tx *store.Tx, p *store.Product, codes []string) error {
	for _, code := range codes {
		i := slices.Index(p.Codes, code)
		if i < 0 {
			return codeUnknown(p.ID)
		}
		n, err := underCode(tx.View(), code, "")
		if err != nil {
			return err
		}
		if n > 0 {
			return codeInUse(code, n)
		}
		if _, err := store.Codes.Read(tx, code); err != nil {
			return fmt.Errorf("product code: %w", err)
		}
		store.Codes.Delete(tx, code)
		p.Codes = slices.Delete(p.Codes, i, i+1)
	}
	return nil
}

// underCode counts the secrets under the code in all accounts, those pending
// deletion included, but not those of the product except.
func underCode(v *store.View, code, except string) (n int, err error) {
	err = store.Secrets.Scan(v, "", func(_ string, sec *store.Secret) bool {
		if sec.Owner != nil && sec.Owner.Code == code && sec.Owner.Product != except {
			n++
		}
		return true
	})
	return n, err
}
