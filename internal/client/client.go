// Package client signs and sends operations to a server of this API: to
// OpenSesame itself, for the command line and for tests. It trusts the server
// it was pointed at, by its certificate, and nothing in between: secrets travel
// in bodies and never in an address, redirects are not followed, and plain HTTP
// is for the loopback interface only.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

// Scheme is the way requests are signed.
type Scheme string

const (
	// V3 is ACS3-HMAC-SHA256; the zero value means it too.
	V3 Scheme = "V3"
	// V1 is HMAC-SHA1, which old servers and tests of old clients want.
	V1 Scheme = "V1"
)

// Config says where to send requests and as whom.
type Config struct {
	// Endpoint is the server's URL, for example https://127.0.0.1:8443. http
	// is accepted for loopback addresses only.
	Endpoint string
	// AccessKeyID and AccessKeySecret are required.
	AccessKeyID     string
	AccessKeySecret mask.Text
	// SecurityToken belongs to a temporary credential; empty otherwise.
	SecurityToken mask.Text
	// Region is sent as parameter RegionId; empty means not at all.
	Region string
	// CAPEM holds the certificates that the server's must chain to, and no
	// others do then; nil means the system's. Not together with HTTPClient.
	CAPEM []byte
	// HTTPClient sends the requests; nil means one of our own that gives up
	// after 30 seconds. It is copied, and redirects are off in the copy.
	HTTPClient *http.Client
	// Scheme is V3 (also if empty) or V1.
	Scheme Scheme
	// UserAgent is sent as such; empty means "opensesame".
	UserAgent string
	// Now tells the time that requests are signed with; nil means time.Now.
	Now func() time.Time
}

// maxAnswer bounds what is read of an answer, in bytes. The longest real ones,
// lists of a hundred secrets, take a few hundred KiB.
const maxAnswer = 16 << 20

// versions maps products to their API versions.
var versions = map[string]string{
	"kms":             "2016-01-20",
	"sts":             "2015-04-01",
	"ram":             "2015-05-01",
	"resourcemanager": "2020-03-31",
	"opensesame":      "2026-12-01",
}

// Client sends operations. It is safe for concurrent use.
type Client struct {
	cfg  Config
	url  string // with the path "/"
	host string // as it goes into the Host header
	http *http.Client
}

// New checks cfg and returns a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.AccessKeyID == "" || cfg.AccessKeySecret.Len() == 0:
		return nil, errors.New("client: access key id and secret are needed")
	case cfg.Scheme == "":
		cfg.Scheme = V3
	case cfg.Scheme != V1 && cfg.Scheme != V3:
		return nil, fmt.Errorf("client: unknown signature scheme %q: want V3 or V1", cfg.Scheme)
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "opensesame"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	hc, err := cfg.httpClient()
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, url: u.Scheme + "://" + u.Host + "/", host: u.Host, http: hc}, nil
}

// parseEndpoint returns the endpoint if it is a bare address, and one that
// secrets may be sent to.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("client: endpoint %q is not a URL such as https://127.0.0.1:8443", s)
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("client: the endpoint must be scheme, host and port only")
	}
	// The host is signed as it stands, so it must be what net/http sends:
	// that rewrites names that are not ASCII, zones, and an empty port.
	u.Host = strings.TrimSuffix(u.Host, ":")
	for _, c := range u.Host {
		if c > '~' || c == '%' {
			return nil, fmt.Errorf("client: host %q of the endpoint is not plain ASCII", u.Host)
		}
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("client: plain http to %s would show secrets to the network; use https", u.Host)
	}
	return u, nil
}

func (cfg *Config) httpClient() (*http.Client, error) {
	var hc http.Client
	switch {
	case cfg.HTTPClient != nil && cfg.CAPEM != nil:
		return nil, errors.New("client: give CAPEM or HTTPClient, not both")
	case cfg.HTTPClient != nil:
		hc = *cfg.HTTPClient
	default:
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if cfg.CAPEM != nil {
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(cfg.CAPEM) {
				return nil, errors.New("client: no certificate in the CA file")
			}
			t.TLSClientConfig.RootCAs = pool
		}
		hc = http.Client{Transport: t, Timeout: 30 * time.Second}
	}
	// A redirect would carry the signed body to another server.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &hc, nil
}

// Call signs and sends one operation and decodes the answer, JSON, into out
// unless that is nil. product is kms, sts, ram, resourcemanager or opensesame.
// All parameters go into the form body of a POST, so that no secret appears in
// an address or an access log. Each call signs anew; nothing is retried. A
// refusal by the server is an [*Error].
func (c *Client) Call(ctx context.Context, product, operation string, params map[string]string, out any) error {
	version, ok := versions[product]
	if !ok {
		return fmt.Errorf("client: unknown product %q", product)
	}
	req, err := c.newRequest(ctx, version, operation, params)
	if err != nil {
		return fmt.Errorf("client: make the request of %s: %w", operation, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("client: send %s: %w", operation, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("client: read the answer of %s: %w", operation, err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("client: the answer of %s is longer than %d bytes", operation, maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return newError(resp, body)
	}
	if out == nil {
		return nil
	}
	// The decoder's error may quote the answer, which may hold a secret.
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(out); err != nil {
		return fmt.Errorf("client: the answer of %s is not the JSON that was expected (%T)", operation, err)
	}
	return nil
}

// Error is a refusal by the server.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code, Message and RequestID are empty if the answer was not of this API,
	// for example that of a proxy.
	Code, Message, RequestID string
	// AccessDeniedDetail explains a refusal by policy or ownership; else nil.
	AccessDeniedDetail map[string]any
	// Raw is the whole body.
	Raw []byte
}

func newError(resp *http.Response, body []byte) *Error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Acs-Request-Id"), Raw: body}
	var wire struct {
		Code, Message, RequestId string
		AccessDeniedDetail       map[string]any
	}
	if json.Unmarshal(body, &wire) == nil && wire.Code != "" {
		e.Code, e.Message, e.AccessDeniedDetail = wire.Code, wire.Message, wire.AccessDeniedDetail
		if wire.RequestId != "" {
			e.RequestID = wire.RequestId
		}
	}
	return e
}

// Error returns code, message and request id, or the status if the answer was
// not of this API.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the server answered HTTP %d %s, not with an error of this API", e.Status, http.StatusText(e.Status))
	}
	s := e.Code + ": " + e.Message
	if e.RequestID != "" {
		s += " (request id " + e.RequestID + ")"
	}
	return s
}
