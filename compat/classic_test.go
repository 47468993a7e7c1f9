package compat

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	oldkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
	oldram "github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
	oldrm "github.com/aliyun/alibaba-cloud-sdk-go/services/resourcemanager"
	oldsts "github.com/aliyun/alibaba-cloud-sdk-go/services/sts"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// classicSDK is the older generation, alibaba-cloud-sdk-go.
type classicSDK struct {
	scheme, method string
	// wrap, if set, stands between the SDK and its transport.
	wrap func(http.RoundTripper) http.RoundTripper
}

func (s *classicSDK) config(srv *sesametest.Server) *sdk.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(srv.CAPEM)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	cfg := sdk.NewConfig().WithScheme(s.scheme).WithHttpTransport(transport)
	if s.wrap != nil {
		cfg.HttpTransport, cfg.Transport = nil, s.wrap(transport)
	}
	return cfg
}

// domain is where the SDK sends its requests.
func (s *classicSDK) domain(srv *sesametest.Server) string {
	if s.scheme == "HTTP" {
		return strings.TrimPrefix(srv.HTTPURL, "http://")
	}
	return srv.Host
}

func classicCredential(c sesametest.Credential) auth.Credential {
	if c.SecurityToken != "" {
		return credentials.NewStsTokenCredential(c.AccessKeyID, c.AccessKeySecret, c.SecurityToken)
	}
	return credentials.NewAccessKeyCredential(c.AccessKeyID, c.AccessKeySecret)
}

func (s *classicSDK) client(srv *sesametest.Server, c sesametest.Credential, product string) (client any, err error) {
	cfg, cred, domain := s.config(srv), classicCredential(c), s.domain(srv)
	switch product {
	case "kms":
		cl, e := oldkms.NewClientWithOptions(srv.Region, cfg, cred)
		client, err, cl.Domain = cl, e, domain
	case "sts":
		cl, e := oldsts.NewClientWithOptions(srv.Region, cfg, cred)
		client, err, cl.Domain = cl, e, domain
	case "ram":
		cl, e := oldram.NewClientWithOptions(srv.Region, cfg, cred)
		client, err, cl.Domain = cl, e, domain
	case "resourcemanager":
		cl, e := oldrm.NewClientWithOptions(srv.Region, cfg, cred)
		client, err, cl.Domain = cl, e, domain
	default:
		return nil, fmt.Errorf("the classic SDK has no product %s", product)
	}
	return client, err
}

// of makes one type of the SDK's constructors of requests.
func of[R requests.AcsRequest](f func() R) func() requests.AcsRequest {
	return func() requests.AcsRequest { return f() }
}

var classicRequests = map[string]func() requests.AcsRequest{
	"kms CreateSecret":         of(oldkms.CreateCreateSecretRequest),
	"kms DeleteSecret":         of(oldkms.CreateDeleteSecretRequest),
	"kms DescribeRegions":      of(oldkms.CreateDescribeRegionsRequest),
	"kms DescribeSecret":       of(oldkms.CreateDescribeSecretRequest),
	"kms GetSecretValue":       of(oldkms.CreateGetSecretValueRequest),
	"kms ListSecrets":          of(oldkms.CreateListSecretsRequest),
	"kms ListSecretVersionIds": of(oldkms.CreateListSecretVersionIdsRequest),
	"kms PutSecretValue":       of(oldkms.CreatePutSecretValueRequest),
	"kms RestoreSecret":        of(oldkms.CreateRestoreSecretRequest),

	"sts AssumeRole":        of(oldsts.CreateAssumeRoleRequest),
	"sts GetCallerIdentity": of(oldsts.CreateGetCallerIdentityRequest),

	"ram AttachPolicyToRole":   of(oldram.CreateAttachPolicyToRoleRequest),
	"ram AttachPolicyToUser":   of(oldram.CreateAttachPolicyToUserRequest),
	"ram CreateAccessKey":      of(oldram.CreateCreateAccessKeyRequest),
	"ram CreatePolicy":         of(oldram.CreateCreatePolicyRequest),
	"ram CreateRole":           of(oldram.CreateCreateRoleRequest),
	"ram CreateUser":           of(oldram.CreateCreateUserRequest),
	"ram DeleteAccessKey":      of(oldram.CreateDeleteAccessKeyRequest),
	"ram DeletePolicy":         of(oldram.CreateDeletePolicyRequest),
	"ram DeleteRole":           of(oldram.CreateDeleteRoleRequest),
	"ram DeleteUser":           of(oldram.CreateDeleteUserRequest),
	"ram DetachPolicyFromRole": of(oldram.CreateDetachPolicyFromRoleRequest),
	"ram DetachPolicyFromUser": of(oldram.CreateDetachPolicyFromUserRequest),
	"ram GetPolicy":            of(oldram.CreateGetPolicyRequest),
	"ram GetRole":              of(oldram.CreateGetRoleRequest),
	"ram GetUser":              of(oldram.CreateGetUserRequest),
	"ram ListAccessKeys":       of(oldram.CreateListAccessKeysRequest),

	"resourcemanager CreateServiceLinkedRole": of(oldrm.CreateCreateServiceLinkedRoleRequest),
}

func (s *classicSDK) call(srv *sesametest.Server, c sesametest.Credential, product, operation string, p params) (answer, error) {
	client, err := s.client(srv, c, product)
	if err != nil {
		return nil, err
	}
	constructor := classicRequests[product+" "+operation]
	if constructor == nil {
		return nil, fmt.Errorf("no request of the classic SDK is known for %s %s", product, operation)
	}
	req := constructor()
	reflect.ValueOf(req).Elem().FieldByName("Method").SetString(s.method)
	if err := fill(reflect.ValueOf(req).Elem(), "name", p); err != nil {
		return nil, err
	}
	out := reflect.ValueOf(client).MethodByName(operation).Call([]reflect.Value{reflect.ValueOf(req)})
	if err, _ := out[1].Interface().(error); err != nil {
		return nil, classicRefusal(err)
	}
	return decoded(out[0].Interface())
}

func classicRefusal(err error) error {
	var e *sdkerrors.ServerError
	if !errors.As(err, &e) {
		return err
	}
	return &refusalError{refusal{
		Code: e.ErrorCode(), Status: e.HttpStatus(), Message: e.Message(), RequestID: e.RequestId(),
		Recommend: e.Recommend(), Denied: e.AccessDeniedDetail(),
	}}
}

var classicClients = map[string]reflect.Type{
	"kms": reflect.TypeFor[*oldkms.Client](), "sts": reflect.TypeFor[*oldsts.Client](),
	"ram": reflect.TypeFor[*oldram.Client](), "resourcemanager": reflect.TypeFor[*oldrm.Client](),
}

func (s *classicSDK) shape(product, operation string) reflect.Type {
	if client := classicClients[product]; client != nil {
		if m, ok := client.MethodByName(operation); ok {
			return m.Type.Out(0)
		}
	}
	return nil
}

// requestShape is the SDK's request type; nil if the operation has none.
func (s *classicSDK) requestShape(product, operation string) reflect.Type {
	if client := classicClients[product]; client != nil {
		if m, ok := client.MethodByName(operation); ok {
			return m.Type.In(1)
		}
	}
	return nil
}
