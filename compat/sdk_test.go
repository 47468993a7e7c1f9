package compat

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	"github.com/alibabacloud-go/darabonba-openapi/v2/models"
	newkms "github.com/alibabacloud-go/kms-20160120/v3/client"
	newsts "github.com/alibabacloud-go/sts-20150401/v2/client"
	"github.com/alibabacloud-go/tea/dara"
	"github.com/alibabacloud-go/tea/tea"
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

// params are an operation's parameters, as text.
type params map[string]string

// answer is what an SDK decoded, under the wire's names: all that it knows and
// nothing that it does not.
type answer map[string]any

// refusal is an error of the server as an SDK reports it.
type refusal struct {
	Code, Message, RequestID string
	Status                   int
	// Recommend is the classic SDK's own advice.
	Recommend string
	// Denied is the AccessDeniedDetail.
	Denied map[string]any
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Message) }

// caller is one way in which programs call the server: an SDK with its
// settings. It fills the SDK's own request type, runs the SDK's own method and
// returns what the SDK decoded.
type caller interface {
	call(srv *sesametest.Server, c sesametest.Credential, product, operation string, p params) (answer, error)
	// shape is what the SDK can decode of an operation's answer; nil for one
	// that decodes everything.
	shape(product, operation string) reflect.Type
}

// callers are the ways that every operation is called in.
var callers = []struct {
	name string
	caller
}{
	{"v3 ACS3", &newSDK{}},
	{"v3 signature 1.0", &newSDK{algorithm: "v2"}},
	{"classic", &classicSDK{scheme: "HTTPS", method: "POST"}},
	{"classic GET over plain HTTP", &classicSDK{scheme: "HTTP", method: "GET"}},
}

// forEachCaller runs the test for every way to call, each in an account of its
// own.
func forEachCaller(t *testing.T, srv *sesametest.Server, test func(t *testing.T, c caller, acct *sesametest.Account)) {
	t.Helper()
	for _, c := range callers {
		t.Run(c.name, func(t *testing.T) { test(t, c.caller, srv.NewAccount(t)) })
	}
}

// versions of the products that have no package of their own in the new SDK.
var versions = map[string]string{
	"kms": "2016-01-20", "sts": "2015-04-01", "ram": "2015-05-01", "resourcemanager": "2020-03-31", "opensesame": "2026-12-01",
}

// newSDK is the current generation: kms-20160120/v3 and sts-20150401/v2, and
// the generic client that both are made of for the other products.
type newSDK struct {
	// algorithm "v2" makes the SDK sign with signature version 1.0.
	algorithm string
	// generic takes the generic client for all products; parameters named in
	// form then travel in the body.
	generic bool
	form    []string
	// json sends the parameters as a JSON body, through the generic client.
	json bool
	// wrap, if set, stands between the SDK and its transport.
	wrap func(http.RoundTripper) http.RoundTripper
}

// Call implements the SDK's interface for foreign HTTP clients.
func (s *newSDK) Call(r *http.Request, transport *http.Transport) (*http.Response, error) {
	return (&http.Client{Transport: s.wrap(transport)}).Do(r)
}

// ownTimeout is a read timeout, in milliseconds, that no other server of this
// process has. The SDK keeps connections, with the certificate authority that
// they were made with, in one pool of the process by address and timeouts; the
// address of a server that ended may be that of the next one.
func ownTimeout(srv *sesametest.Server) int {
	timeouts.Lock()
	defer timeouts.Unlock()
	ms, ok := timeouts.of[string(srv.CAPEM)]
	if !ok {
		ms = 60_000 + len(timeouts.of)
		timeouts.of[string(srv.CAPEM)] = ms
	}
	return ms
}

var timeouts = struct {
	sync.Mutex
	of map[string]int // by certificate authority
}{of: map[string]int{}}

func (s *newSDK) config(srv *sesametest.Server, c sesametest.Credential) *models.Config {
	cfg := &models.Config{
		Endpoint: tea.String(srv.Host), Ca: tea.String(string(srv.CAPEM)), RegionId: tea.String(srv.Region),
		AccessKeyId: tea.String(c.AccessKeyID), AccessKeySecret: tea.String(c.AccessKeySecret), ReadTimeout: tea.Int(ownTimeout(srv)),
	}
	if c.SecurityToken != "" {
		cfg.SecurityToken = tea.String(c.SecurityToken)
	}
	if s.algorithm != "" {
		cfg.SignatureAlgorithm = tea.String(s.algorithm)
	}
	if s.wrap != nil {
		cfg.HttpClient = s
	}
	return cfg
}

func (s *newSDK) call(srv *sesametest.Server, c sesametest.Credential, product, operation string, p params) (answer, error) {
	cfg := s.config(srv, c)
	var client any
	var err error
	switch {
	case s.generic || s.json:
		return s.callGeneric(cfg, product, operation, p)
	case product == "kms":
		client, err = newkms.NewClient(cfg)
	case product == "sts":
		client, err = newsts.NewClient(cfg)
	default:
		return s.callGeneric(cfg, product, operation, p)
	}
	if err != nil {
		return nil, err
	}
	method := reflect.ValueOf(client).MethodByName(operation)
	var in []reflect.Value
	if method.Type().NumIn() > 0 {
		req := reflect.New(method.Type().In(0).Elem())
		if err := fill(req.Elem(), "json", p); err != nil {
			return nil, err
		}
		in = append(in, req)
	}
	out := method.Call(in)
	if err, _ := out[1].Interface().(error); err != nil {
		return nil, newRefusal(err)
	}
	return decoded(out[0].Elem().FieldByName("Body").Interface())
}

func (s *newSDK) callGeneric(cfg *models.Config, product, operation string, p params) (answer, error) {
	client, err := openapi.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	query, body := map[string]any{}, map[string]any{}
	for name, value := range p {
		query[name] = value
	}
	for _, name := range s.form {
		if v, ok := query[name]; ok {
			body[name] = v
			delete(query, name)
		}
	}
	api := &models.Params{
		Action: tea.String(operation), Version: tea.String(versions[product]), Protocol: tea.String("HTTPS"), Pathname: tea.String("/"),
		Method: tea.String("POST"), AuthType: tea.String("AK"), Style: tea.String("RPC"), ReqBodyType: tea.String("formData"), BodyType: tea.String("json"),
	}
	if s.json {
		query, body, api.ReqBodyType = map[string]any{}, query, tea.String("json")
	}
	req := &models.OpenApiRequest{Query: stringPointers(query)}
	if len(body) > 0 {
		req.Body = body
	}
	out, err := client.CallApi(api, req, &dara.RuntimeOptions{})
	if err != nil {
		return nil, newRefusal(err)
	}
	return decoded(out["body"])
}

func stringPointers(m map[string]any) map[string]*string {
	out := map[string]*string{}
	for k, v := range m {
		out[k] = tea.String(v.(string))
	}
	return out
}

func newRefusal(err error) error {
	var e *tea.SDKError
	if !errors.As(err, &e) {
		return err
	}
	var data struct{ RequestId string }
	_ = json.Unmarshal([]byte(tea.StringValue(e.Data)), &data)
	// The SDK puts the parts of the answer into one sentence.
	message, ok := strings.CutPrefix(tea.StringValue(e.Message), fmt.Sprintf("code: %d, ", tea.IntValue(e.StatusCode)))
	message, ok2 := strings.CutSuffix(message, " request id: "+data.RequestId)
	if !ok || !ok2 {
		return fmt.Errorf("the SDK reports an error of another shape: %w", err)
	}
	return &refusal{
		Code: tea.StringValue(e.Code), Status: tea.IntValue(e.StatusCode), Message: message,
		RequestID: data.RequestId, Denied: e.AccessDeniedDetail,
	}
}

func (s *newSDK) shape(product, operation string) reflect.Type {
	var client reflect.Type
	switch {
	case s.generic || s.json:
		return nil
	case product == "kms":
		client = reflect.TypeFor[*newkms.Client]()
	case product == "sts":
		client = reflect.TypeFor[*newsts.Client]()
	default:
		return nil
	}
	m, _ := client.MethodByName(operation)
	body, _ := m.Type.Out(0).Elem().FieldByName("Body")
	return body.Type
}

// requestShape is the SDK's request type; nil if the operation has none.
func (s *newSDK) requestShape(product, operation string) reflect.Type {
	client := map[string]reflect.Type{"kms": reflect.TypeFor[*newkms.Client](), "sts": reflect.TypeFor[*newsts.Client]()}[product]
	if client == nil {
		return nil
	}
	m, ok := client.MethodByName(operation)
	if !ok || m.Type.NumIn() < 2 {
		return nil
	}
	return m.Type.In(1)
}

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
	return &refusal{
		Code: e.ErrorCode(), Status: e.HttpStatus(), Message: e.Message(), RequestID: e.RequestId(),
		Recommend: e.Recommend(), Denied: e.AccessDeniedDetail(),
	}
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

// fill sets the fields of an SDK's request whose tag names a parameter. A
// parameter that the SDK does not have is an error: no program could send it.
func fill(req reflect.Value, tag string, p params) error {
	left := len(p)
	for i := range req.NumField() {
		name, _, _ := strings.Cut(req.Type().Field(i).Tag.Get(tag), ",")
		text, ok := p[name]
		if !ok || name == "" {
			continue
		}
		left--
		if err := set(req.Field(i), text); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	if left > 0 {
		return fmt.Errorf("%s lacks some of the parameters %v", req.Type(), p)
	}
	return nil
}

func set(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return set(v.Elem(), text)
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
		return err
	default:
		return json.Unmarshal([]byte(text), v.Addr().Interface())
	}
}

// decoded turns what an SDK decoded into an answer, without what is zero: the
// classic SDK does not tell an absent field from an empty one.
func decoded(v any) (answer, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out answer
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, err
	}
	return prune(map[string]any(out)).(map[string]any), nil
}

// prune takes zero values out of objects.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = prune(e); zero(e) {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}

func zero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case float64:
		return v == 0
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
