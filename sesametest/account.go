package sesametest

import "testing"

// Account is an account on the server, with its root user.
type Account struct {
	ID   string
	Root Credential

	srv *Server
}

type wireKey struct{ AccessKeyId, AccessKeySecret string }

// NewAccount makes an account.
func (s *Server) NewAccount(t testing.TB) *Account {
	t.Helper()
	var out struct {
		Account   struct{ AccountId string }
		AccessKey wireKey
	}
	s.MustCall(t, s.Operator, "opensesame", "CreateAccount", nil, &out)
	return &Account{
		ID: out.Account.AccountId, srv: s,
		Root: Credential{AccessKeyID: out.AccessKey.AccessKeyId, AccessKeySecret: out.AccessKey.AccessKeySecret},
	}
}

// NewUser makes a RAM user with an access key and, if policy is not empty, a
// policy with that document, named after the user.
func (a *Account) NewUser(t testing.TB, name, policy string) Credential {
	t.Helper()
	a.srv.MustCall(t, a.Root, "ram", "CreateUser", Params{"UserName": name}, nil)
	var out struct{ AccessKey wireKey }
	a.srv.MustCall(t, a.Root, "ram", "CreateAccessKey", Params{"UserName": name}, &out)
	if policy != "" {
		a.srv.MustCall(t, a.Root, "ram", "CreatePolicy", Params{"PolicyName": "of-" + name, "PolicyDocument": policy}, nil)
		a.Attach(t, name, "Custom", "of-"+name)
	}
	return Credential{AccessKeyID: out.AccessKey.AccessKeyId, AccessKeySecret: out.AccessKey.AccessKeySecret}
}

// Attach attaches a policy to a user.
func (a *Account) Attach(t testing.TB, user, policyType, policy string) {
	t.Helper()
	a.srv.MustCall(t, a.Root, "ram", "AttachPolicyToUser",
		Params{"UserName": user, "PolicyType": policyType, "PolicyName": policy}, nil)
}

// NewRole makes a role that any user of the account may assume if a policy of
// theirs allows it, and attaches the system policy if one is named. It returns
// the role's ARN.
func (a *Account) NewRole(t testing.TB, name, trust, systemPolicy string) string {
	t.Helper()
	if trust == "" {
		trust = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::` + a.ID + `:root"]}}]}`
	}
	var out struct{ Role struct{ Arn string } }
	a.srv.MustCall(t, a.Root, "ram", "CreateRole", Params{"RoleName": name, "AssumeRolePolicyDocument": trust}, &out)
	if systemPolicy != "" {
		a.srv.MustCall(t, a.Root, "ram", "AttachPolicyToRole",
			Params{"RoleName": name, "PolicyType": "System", "PolicyName": systemPolicy}, nil)
	}
	return out.Role.Arn
}

// Assume assumes a role as c.
func (s *Server) Assume(t testing.TB, c Credential, roleARN string) Credential {
	t.Helper()
	var out struct {
		Credentials struct{ AccessKeyId, AccessKeySecret, SecurityToken string }
	}
	s.MustCall(t, c, "sts", "AssumeRole", Params{"RoleArn": roleARN, "RoleSessionName": "test"}, &out)
	k := out.Credentials
	return Credential{k.AccessKeyId, k.AccessKeySecret, k.SecurityToken}
}

// Services of the built-in catalogue, by one of their product codes.
var Services = map[string]string{
	"aigw": "invokekms.nativeapigw.aliyuncs.com", "ai-gateway": "invokekms.nativeapigw.aliyuncs.com",
	"apigw":   "invokekms.nativeapigw.aliyuncs.com",
	"bailian": "kms-access.sfm.aliyuncs.com", "bailian-apikey": "kms-access.sfm.aliyuncs.com", "mcp": "kms-access.sfm.aliyuncs.com",
	"alb": "kms.alb.aliyuncs.com", "ga": "kms.ga.aliyuncs.com",
}

// Service gives a built-in service its credential. It can be had once in a
// server's life, unless Options.BreakGlass is set.
func (s *Server) Service(t testing.TB, code string) Credential {
	t.Helper()
	var out struct{ AccessKey wireKey }
	s.MustCall(t, s.Operator, "opensesame", "CreateServiceCredential", Params{"ServiceName": Services[code]}, &out)
	return Credential{AccessKeyID: out.AccessKey.AccessKeyId, AccessKeySecret: out.AccessKey.AccessKeySecret}
}

// Authorise makes the service-linked role of the service that has the product
// code, as the account's root user, and returns its ARN.
func (a *Account) Authorise(t testing.TB, code string) string {
	t.Helper()
	var out struct{ Role struct{ Arn string } }
	a.srv.MustCall(t, a.Root, "resourcemanager", "CreateServiceLinkedRole", Params{"ServiceName": Services[code]}, &out)
	return out.Role.Arn
}

// Manage makes a managing session: the service of the product code, with its
// credential, assumes its service-linked role in the account.
func (a *Account) Manage(t testing.TB, service Credential, code string) Credential {
	t.Helper()
	return a.srv.Assume(t, service, a.Authorise(t, code))
}
