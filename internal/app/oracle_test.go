package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// question is a request about something, by a name: NAME in its parameters.
type question struct {
	product, operation string
	params             p
}

func (q question) String() string { return fmt.Sprint(q.operation, " ", q.params) }

// about is the question with the name in it.
func (q question) about(name string) p {
	out := p{}
	for k, v := range q.params {
		out[k] = strings.ReplaceAll(v, "NAME", name)
	}
	return out
}

// told is all that an answer tells but the name that was asked for. Names that
// are compared have the same length.
func (a answer) told(name string) string {
	return strings.ReplaceAll(a.same(), name, "NAME") + fmt.Sprint(" ", a.header.Get("Content-Length"), " ", len(a.header))
}

// Names that are there in the accounts of these tests and others that are not,
// all of one length.
const (
	present, pending, missing = "Present", "Pending", "Missing"
	presentUp, missingUp      = "PRESENT", "MISSING" // RAM names are found in any spelling
)

var allowAll = allow("*", "*")

// secretQuestions are all operations on one secret, with each of the prefixes
// before its name.
func secretQuestions(prefixes ...string) (out []question) {
	for _, pre := range prefixes {
		name := pre + "NAME"
		for _, operation := range reads {
			out = append(out, question{"kms", operation, p{"SecretName": name}})
		}
		for _, make := range writes {
			operation, params := make(name)
			out = append(out, question{"kms", operation, params})
		}
		out = append(out,
			question{"kms", "GetSecretValue", p{"SecretName": name, "VersionStage": "nosuch"}},
			question{"kms", "GetSecretValue", p{"SecretName": name, "VersionId": "v1", "DryRun": "true"}},
			question{"kms", "CreateSecret", p{"SecretName": name, "VersionId": "v1", "SecretData": "x"}},
		)
	}
	return out
}

// identityQuestions are all operations on users, roles and policies of the
// account that take a name.
func identityQuestions(account string) (out []question) {
	for _, operation := range []string{"GetUser", "DeleteUser", "CreateUser", "CreateAccessKey", "ListAccessKeys"} {
		out = append(out, question{"ram", operation, p{"UserName": "NAME"}})
	}
	for _, of := range []string{"User", "Role"} {
		for _, operation := range []string{"AttachPolicyTo", "DetachPolicyFrom"} {
			out = append(out, question{"ram", operation + of, p{"PolicyType": "Custom", "PolicyName": "NAME", of + "Name": "NAME"}})
		}
	}
	return append(out,
		question{"ram", "DeleteAccessKey", p{"UserName": "NAME", "UserAccessKeyId": "LTAI5tNoSuchKey"}},
		question{"ram", "GetPolicy", p{"PolicyType": "Custom", "PolicyName": "NAME"}},
		question{"ram", "DeletePolicy", p{"PolicyName": "NAME"}},
		question{"ram", "CreatePolicy", p{"PolicyName": "NAME", "PolicyDocument": allowAll}},
		question{"ram", "GetRole", p{"RoleName": "NAME"}},
		question{"ram", "DeleteRole", p{"RoleName": "NAME"}},
		question{"ram", "CreateRole", p{"RoleName": "NAME", "AssumeRolePolicyDocument": trust("kms.alb.aliyuncs.com")}},
		// A trust policy names users, who must exist.
		question{"ram", "CreateRole", p{"RoleName": "new", "AssumeRolePolicyDocument": `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::` + account + `:user/NAME"]}}]}`}},
		assumeQuestion(account),
	)
}

func assumeQuestion(account string) question {
	return question{"sts", "AssumeRole", p{"RoleArn": "acs:ram::" + account + ":role/NAME", "RoleSessionName": "test"}}
}

// TestRefusalsTellNoNames: who may do nothing in an account learns nothing
// about it either. Every operation that takes a name answers alike whether the
// thing is there, pending deletion or missing, and however its name is spelt.
func TestRefusalsTellNoNames(t *testing.T) {
	c := newCast(t)
	for _, name := range []string{present, pending} {
		shared.call(t, c.manager, "CreateSecret", p{"SecretName": "bailian!" + name, "VersionId": "v1", "SecretData": "x", "ManageUrl": "https://studio.example/keys"}).ok(t)
		shared.create(t, c.Root, name, "x")
	}
	shared.call(t, c.manager, "DeleteSecret", p{"SecretName": "bailian!" + pending}).ok(t)
	shared.call(t, c.Root, "DeleteSecret", p{"SecretName": pending}).ok(t)
	c.NewUser(t, present, "")
	c.NewRole(t, present, "", "")
	shared.api(t, c.Root, "ram", "CreatePolicy", p{"PolicyName": present, "PolicyDocument": allowAll}).ok(t)

	arn := c.arn("")
	abroad := secretQuestions(arn, arn+"bailian!")
	atHome := append(secretQuestions("", "bailian!"), identityQuestions(c.ID)...)
	callers := map[string][]question{}
	for who := range c.outsiders {
		callers[who] = append([]question{assumeQuestion(c.ID)}, abroad...)
	}
	// What has no name of its own account to speak of: its bare names are the
	// same things as the full ones.
	for _, who := range []string{"alb", "the service's own credential", "the operator"} {
		callers[who] = append(callers[who], atHome...)
	}
	c.outsiders["nobody"] = c.NewUser(t, "nobody", "")
	callers["nobody"] = append(atHome, abroad...)
	for who, questions := range callers {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			for _, q := range questions {
				alike(t, c.outsiders[who], q, present, missing)
				if q.product == "kms" {
					alike(t, c.outsiders[who], q, pending, missing)
				} else {
					alike(t, c.outsiders[who], q, presentUp, missingUp)
				}
			}
		})
	}
}

// alike asks for both names, checks that both are refused and compares all that
// the answers tell.
func alike(t *testing.T, caller cred, q question, there, gone string) {
	t.Helper()
	ask := func(name string) string {
		a := shared.api(t, caller, q.product, q.operation, q.about(name))
		if a.shape(t); a.status < 400 || a.status >= 500 {
			t.Errorf("%s of %s: HTTP %d, want a refusal", q, name, a.status)
		}
		return a.told(name)
	}
	if a, b := ask(there), ask(gone); a != b {
		t.Errorf("%s\nof %s: %s\nof %s: %s", q, there, a, gone, b)
	}
}

// TestRoleSpelling: a role is found in any spelling by those who may use it,
// and the refusal of all others repeats the spelling of the question, not that
// of the role: it would tell that there is one.
func TestRoleSpelling(t *testing.T) {
	t.Parallel()
	acct, other := shared.NewAccount(t), shared.NewAccount(t)
	acct.NewRole(t, present, "", "")
	may := acct.NewUser(t, "may", allow("*", "sts:AssumeRole"))
	q := assumeQuestion(acct.ID)
	for _, name := range []string{present, presentUp} {
		shared.api(t, may, q.product, q.operation, q.about(name)).ok(t)
	}
	for _, caller := range []cred{other.Root, other.NewUser(t, "spy", allowAll), acct.NewUser(t, "nobody", "")} {
		alike(t, caller, q, present, missing)
		alike(t, caller, q, presentUp, missingUp)
	}

	// Which products an account has let in is nobody else's business either.
	const role = "AliyunServiceRoleForSFMAccessKMS"
	nobody := acct.NewUser(t, "nobody-else", "")
	look := func() (told string) {
		for _, name := range []string{role, strings.ToLower(role)} {
			for _, operation := range []string{"GetRole", "DeleteRole"} {
				told += shared.api(t, nobody, "ram", operation, p{"RoleName": name}).told(name) + "\n"
			}
			told += shared.api(t, other.Root, "sts", "AssumeRole", p{"RoleArn": "acs:ram::" + acct.ID + ":role/" + name, "RoleSessionName": "test"}).told(name) + "\n"
		}
		return told
	}
	before := look()
	acct.Authorise(t, "bailian")
	if after := look(); after != before {
		t.Errorf("before the product was let in\n%s\nand after\n%s", before, after)
	}
}

// TestForeignRefusalsOnRecord: the caller's trail of refused reaches into
// another account tells no more than the answers did.
func TestForeignRefusalsOnRecord(t *testing.T) {
	t.Parallel()
	acct, other := shared.NewAccount(t), shared.NewAccount(t)
	manager := shared.manage(t, acct, "bailian")
	shared.create(t, manager, "bailian!"+present, "x")
	shared.create(t, acct.Root, present, "x")
	acct.NewRole(t, present, "", "")
	arn := "acs:kms:cn-hangzhou:" + acct.ID + ":secret/"
	questions := append(secretQuestions(arn, arn+"bailian!"), assumeQuestion(acct.ID))
	ids := make([][2]string, len(questions))
	for i, q := range questions {
		for j, name := range []string{present, missing} {
			a := shared.api(t, other.Root, q.product, q.operation, q.about(name))
			if a.status < 400 || a.status >= 500 {
				t.Errorf("%s: HTTP %d, want a refusal", q, a.status)
			}
			ids[i][j] = a.text("RequestId")
		}
	}
	events := shared.eventsOf(t, other.ID)
	for i, q := range questions {
		var told [2]string
		for j, name := range []string{present, missing} {
			list := events[ids[i][j]]
			if len(list) != 1 {
				t.Fatalf("%s: %d events in the caller's account, want one", q, len(list))
			}
			delete(list[0].AdditionalEventData, "Sequence")
			b, err := json.Marshal(list[0])
			if err != nil {
				t.Fatal(err)
			}
			told[j] = strings.NewReplacer(name, "NAME", ids[i][j], "<id>", list[0].EventTime, "<time>").Replace(string(b))
		}
		if told[0] != told[1] {
			t.Errorf("%s\nthere: %s\nmissing: %s", q, told[0], told[1])
		}
	}
}
