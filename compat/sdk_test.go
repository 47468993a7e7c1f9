package compat

import (
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

func (r *refusal) String() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Message) }

// refusalError is a refusal as an error.
type refusalError struct{ refusal }

func (e *refusalError) Error() string { return e.String() }

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
	return &refusalError{refusal{
		Code: tea.StringValue(e.Code), Status: tea.IntValue(e.StatusCode), Message: message,
		RequestID: data.RequestId, Denied: e.AccessDeniedDetail,
	}}
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
