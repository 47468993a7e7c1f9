// Package sample fills a development server with what shows the idea at work:
// an account whose owner lets one RAM user read the default secrets of a
// product, the products' credentials and roles, and a secret that a product
// deposited. Everything goes through the server's front door, signed, as any
// other client's requests do.
//
// It is for development servers only: it keeps the credentials of all parties
// in one file.
package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Credential is an access key.
type Credential struct {
	ID     string
	Secret mask.Text
}

// Product is a product as the sample uses it.
type Product struct {
	ID, DisplayName, Service, RoleARN string
	Codes, Modes                      []string
	Credential                        Credential
}

// Config is what Prepare needs.
type Config struct {
	// Endpoint and CAPEM reach the server.
	Endpoint string
	CAPEM    []byte
	Region   string
	// Operator is the operator's credential.
	Operator Credential
	// AccountID fixes the sample account's id; empty takes the one on file, or
	// a new one.
	AccountID string
	// File keeps the credentials (mode 0600) for the next start on the same
	// data; Write replaces it whole.
	File  string
	Write func(path string, content []byte, mode os.FileMode) error
}

// Sample is what was prepared.
type Sample struct {
	AccountID string
	Root      Credential
	Reader    Credential
	Products  []Product

	cfg   Config
	state state
}

// state is the content of Config.File.
type state struct {
	AccountID string             `json:"accountId"`
	Region    string             `json:"region"`
	Root      fileKey            `json:"root"`
	Reader    fileKey            `json:"reader"`
	Services  map[string]fileKey `json:"services"`
}

type fileKey struct {
	ID     string `json:"accessKeyId"`
	Secret string `json:"accessKeySecret"`
}

func (k fileKey) credential() Credential { return Credential{k.ID, mask.NewText(k.Secret)} }

// Names of the sample.
const (
	ReaderName = "reader"
	PolicyName = "ReadModelStudioSecrets"
	SecretName = "bailian!demo-api-key"
	code       = "bailian"
	// secretValue is no secret: it is printed in the documentation.
	secretValue = "sk-demo-0123456789abcdef"
)

// CheckAccountID says what an account id looks like.
func CheckAccountID(id string) error {
	if len(id) != 16 || id[0] == '0' || strings.Trim(id, "0123456789") != "" {
		return fmt.Errorf("the account id %q is none: it has 16 digits, the first not 0", id)
	}
	return nil
}

// Operator is the operator's credential.
func (s *Sample) Operator() Credential { return s.cfg.Operator }

// Prepare makes the account, its user and policy, the services' credentials and
// roles, as far as they are not there yet.
func Prepare(ctx context.Context, cfg Config) (*Sample, error) {
	s := &Sample{cfg: cfg}
	if err := s.load(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{s.account, s.services, s.roles, s.reader} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// load reads what an earlier start left.
func (s *Sample) load() error {
	b, err := os.ReadFile(s.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		s.state = state{AccountID: s.cfg.AccountID, Region: s.cfg.Region, Services: map[string]fileKey{}}
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &s.state); err != nil || s.state.Services == nil {
		return fmt.Errorf("%s is damaged: it does not hold the sample's credentials", s.cfg.File)
	}
	if s.cfg.AccountID != "" && s.cfg.AccountID != s.state.AccountID {
		return fmt.Errorf("the data belongs to the account %s, not %s", s.state.AccountID, s.cfg.AccountID)
	}
	return nil
}

func (s *Sample) save() error {
	b, err := json.MarshalIndent(s.state, "", "  ")
	if err != nil {
		return err
	}
	return s.cfg.Write(s.cfg.File, append(b, '\n'), 0o600)
}

// As returns a client that signs with the credential; token is empty for
// long-lived ones.
func (s *Sample) As(c Credential, token mask.Text) (*client.Client, error) {
	return client.New(client.Config{
		Endpoint: s.cfg.Endpoint, CAPEM: s.cfg.CAPEM, Region: s.cfg.Region,
		AccessKeyID: c.ID, AccessKeySecret: c.Secret, SecurityToken: token, UserAgent: "sesame-dev",
	})
}

// call signs one operation as c.
func (s *Sample) call(ctx context.Context, c Credential, token mask.Text, product, operation string, params map[string]string, out any) error {
	cl, err := s.As(c, token)
	if err != nil {
		return err
	}
	return cl.Call(ctx, product, operation, params, out)
}

// tolerate drops the error that says the thing is there already.
func tolerate(err error, code string) error {
	var e *client.Error
	if errors.As(err, &e) && e.Code == code {
		return nil
	}
	return err
}

// lost says what the code of err means here: the server hands a credential out
// once, and this one was, in a start that ended before it could be kept.
func lost(err error, code string) error {
	if err == nil || tolerate(err, code) != nil {
		return err
	}
	return errors.New("it exists, but its credential is not on file (was the first start interrupted?): start on a new data folder")
}

type wireKey struct {
	AccessKeyId     string
	AccessKeySecret string
}

func (k wireKey) file() fileKey { return fileKey{k.AccessKeyId, k.AccessKeySecret} }

func (s *Sample) account(ctx context.Context) error {
	if s.state.Root.ID == "" {
		var out struct {
			Account   struct{ AccountId string }
			AccessKey wireKey
		}
		params := map[string]string{"Name": "sample"}
		if s.state.AccountID != "" {
			params["AccountId"] = s.state.AccountID
		}
		if err := s.call(ctx, s.cfg.Operator, mask.Text{}, "opensesame", "CreateAccount", params, &out); err != nil {
			return fmt.Errorf("create the sample account: %w", lost(err, "Rejected.ResourceExist"))
		}
		s.state.AccountID, s.state.Root = out.Account.AccountId, out.AccessKey.file()
		if err := s.save(); err != nil {
			return err
		}
	}
	s.AccountID, s.Root = s.state.AccountID, s.state.Root.credential()
	return nil
}

// services gives each service of the catalogue its credential.
func (s *Sample) services(ctx context.Context) error {
	var list struct {
		Products struct {
			Product []struct {
				Product, DisplayName, ServiceName string
				ProductCodes, HostingModes        []string
			}
		}
	}
	if err := s.call(ctx, s.cfg.Operator, mask.Text{}, "opensesame", "ListProducts", nil, &list); err != nil {
		return fmt.Errorf("list the products: %w", err)
	}
	for _, p := range list.Products.Product {
		if s.state.Services[p.ServiceName].ID == "" {
			var out struct{ AccessKey wireKey }
			err := s.call(ctx, s.cfg.Operator, mask.Text{}, "opensesame", "CreateServiceCredential",
				map[string]string{"ServiceName": p.ServiceName}, &out)
			if err = lost(err, "Forbidden.NoPermission"); err != nil {
				return fmt.Errorf("create the credential of %s: %w", p.ServiceName, err)
			}
			s.state.Services[p.ServiceName] = out.AccessKey.file()
			if err := s.save(); err != nil {
				return err
			}
		}
		s.Products = append(s.Products, Product{
			ID: p.Product, DisplayName: p.DisplayName, Service: p.ServiceName, Codes: p.ProductCodes, Modes: p.HostingModes,
			Credential: s.state.Services[p.ServiceName].credential(),
		})
	}
	return nil
}

// roles authorises each service in the account, as its user would.
func (s *Sample) roles(ctx context.Context) error {
	arns := map[string]string{}
	for i := range s.Products {
		p := &s.Products[i]
		if arns[p.Service] == "" {
			arn, err := s.role(ctx, p.Service)
			if err != nil {
				return fmt.Errorf("create the service-linked role of %s: %w", p.Service, err)
			}
			arns[p.Service] = arn
		}
		p.RoleARN = arns[p.Service]
	}
	return nil
}

func (s *Sample) role(ctx context.Context, service string) (string, error) {
	var out struct {
		Role struct{ Arn, RoleName string }
	}
	err := s.call(ctx, s.Root, mask.Text{}, "resourcemanager", "CreateServiceLinkedRole",
		map[string]string{"ServiceName": service}, &out)
	if err == nil {
		return out.Role.Arn, nil
	}
	if err = tolerate(err, "EntityAlreadyExists.Role"); err != nil {
		return "", err
	}
	name, err := s.roleName(ctx, service)
	if err != nil {
		return "", err
	}
	err = s.call(ctx, s.Root, mask.Text{}, "ram", "GetRole", map[string]string{"RoleName": name}, &out)
	return out.Role.Arn, err
}

func (s *Sample) roleName(ctx context.Context, service string) (string, error) {
	var list struct {
		Products struct {
			Product []struct{ ServiceName, RoleName string }
		}
	}
	if err := s.call(ctx, s.cfg.Operator, mask.Text{}, "opensesame", "ListProducts", nil, &list); err != nil {
		return "", err
	}
	for _, p := range list.Products.Product {
		if p.ServiceName == service {
			return p.RoleName, nil
		}
	}
	return "", fmt.Errorf("no product belongs to the service %s", service)
}

// Policy is the identity policy of the reader: what the owner of an account
// writes to let somebody read one product's default secrets.
func Policy(region, account string) string {
	return fmt.Sprintf(`{"Version":"1","Statement":[{"Effect":"Allow","Action":["kms:List*","kms:Describe*","kms:GetSecretValue"],"Resource":"acs:kms:%s:%s:secret/%s!*"}]}`, region, account, code)
}

// reader makes the RAM user that may read the product's secrets and nothing
// else.
func (s *Sample) reader(ctx context.Context) error {
	steps := []struct {
		operation string
		params    map[string]string
		exists    string
	}{
		{"CreateUser", map[string]string{"UserName": ReaderName, "DisplayName": "Reads Model Studio's secrets"}, "EntityAlreadyExists.User"},
		{"CreatePolicy", map[string]string{"PolicyName": PolicyName, "PolicyDocument": Policy(s.cfg.Region, s.AccountID)}, "EntityAlreadyExists.Policy"},
		{"AttachPolicyToUser", map[string]string{"UserName": ReaderName, "PolicyName": PolicyName, "PolicyType": "Custom"}, "EntityAlreadyExists.User.Policy"},
	}
	for _, st := range steps {
		if err := tolerate(s.call(ctx, s.Root, mask.Text{}, "ram", st.operation, st.params, nil), st.exists); err != nil {
			return fmt.Errorf("%s: %w", st.operation, err)
		}
	}
	if err := s.readerKey(ctx); err != nil {
		return fmt.Errorf("the reader's access key: %w", err)
	}
	s.Reader = s.state.Reader.credential()
	return nil
}

// readerKey makes the reader's access key unless the one on file is still
// there.
func (s *Sample) readerKey(ctx context.Context) error {
	user := map[string]string{"UserName": ReaderName}
	var list struct {
		AccessKeys struct {
			AccessKey []struct{ AccessKeyId string }
		}
	}
	if err := s.call(ctx, s.Root, mask.Text{}, "ram", "ListAccessKeys", user, &list); err != nil {
		return err
	}
	for _, k := range list.AccessKeys.AccessKey {
		if k.AccessKeyId == s.state.Reader.ID {
			return nil
		}
	}
	var out struct{ AccessKey wireKey }
	if err := s.call(ctx, s.Root, mask.Text{}, "ram", "CreateAccessKey", user, &out); err != nil {
		return err
	}
	s.state.Reader = out.AccessKey.file()
	return s.save()
}

// Step is one step of the main job, as it is shown.
type Step struct{ Who, What, Outcome string }

// MainJob lets a product deposit a secret, the owner's user read it, and the
// owner's root user try to delete it. It returns what happened; an error means
// that something else happened than should.
func (s *Sample) MainJob(ctx context.Context) ([]Step, error) {
	deposit, isNew, err := s.deposit(ctx)
	if err != nil {
		return nil, err
	}
	var read struct{ SecretData, VersionId string }
	if err := s.call(ctx, s.Reader, mask.Text{}, "kms", "GetSecretValue", map[string]string{"SecretName": SecretName}, &read); err != nil {
		return nil, fmt.Errorf("read the secret as the reader: %w", err)
	}
	// A secret of an earlier start may have got another value since.
	if isNew && read.SecretData != secretValue {
		return nil, errors.New("the reader read another value than the product deposited")
	}
	err = s.call(ctx, s.Root, mask.Text{}, "kms", "DeleteSecret", map[string]string{"SecretName": SecretName}, nil)
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Code != "Forbidden.NoPermission" {
		return nil, fmt.Errorf("deleting the secret as root was not refused as it must be: %w", err)
	}
	return append(deposit,
		Step{"user " + ReaderName, "GetSecretValue " + SecretName, fmt.Sprintf("version %s, %d bytes", read.VersionId, len(read.SecretData))},
		Step{"root", "DeleteSecret " + SecretName, "refused: " + refused.Code + ": " + refused.Message},
	), nil
}

// deposit assumes the role and creates the secret, or finds it there.
func (s *Sample) deposit(ctx context.Context) (steps []Step, isNew bool, err error) {
	i := slices.IndexFunc(s.Products, func(p Product) bool { return slices.Contains(p.Codes, code) })
	if i < 0 {
		return nil, false, fmt.Errorf("no product has the code %s", code)
	}
	p := s.Products[i]
	var session struct {
		AssumedRoleUser struct{ Arn string }
		Credentials     struct{ AccessKeyId, AccessKeySecret, SecurityToken string }
	}
	err = s.call(ctx, p.Credential, mask.Text{}, "sts", "AssumeRole",
		map[string]string{"RoleArn": p.RoleARN, "RoleSessionName": "deposit"}, &session)
	if err != nil {
		return nil, false, fmt.Errorf("assume the service-linked role: %w", err)
	}
	steps = append(steps, Step{"service " + p.Service, "AssumeRole", session.AssumedRoleUser.Arn})
	c := session.Credentials
	as := func(operation string, params map[string]string) error {
		return s.call(ctx, Credential{c.AccessKeyId, mask.NewText(c.AccessKeySecret)}, mask.NewText(c.SecurityToken), "kms", operation, params, nil)
	}
	err = as("CreateSecret", map[string]string{
		"SecretName": SecretName, "VersionId": "v1", "SecretData": secretValue, "Description": "API key that Model Studio manages",
	})
	step := Step{"managing session", "CreateSecret " + SecretName, "deposited"}
	var refused *client.Error
	switch {
	case err == nil:
		isNew = true
	case errors.As(err, &refused) && refused.Code == "Rejected.ResourceExist":
		step.Outcome = "is there already"
	case errors.As(err, &refused) && refused.Code == "Rejected.ResourceInDeleteWindow":
		step.What, step.Outcome = "RestoreSecret "+SecretName, "restored: it was to be deleted"
		if err := as("RestoreSecret", map[string]string{"SecretName": SecretName}); err != nil {
			return nil, false, fmt.Errorf("restore the secret: %w", err)
		}
	default:
		return nil, false, fmt.Errorf("deposit the secret: %w", err)
	}
	return append(steps, step), isNew, nil
}
