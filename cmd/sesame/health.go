package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type healthCommand struct {
	Endpoint string        `help:"URL of the server." env:"SESAME_ENDPOINT" default:"${default_endpoint}"`
	CAFile   string        `name:"ca-file" help:"File with the certificate authority that the server's certificate chains to; without it the system's. Not needed on the server's own machine." env:"SESAME_CA_FILE"`
	Timeout  time.Duration `help:"How long to wait for the answer." default:"5s"`
}

// Run prints ok if the server can answer requests, and is an error if not. It
// signs nothing and sends no secret.
func (c *healthCommand) Run(ctx context.Context, w io.Writer) error {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("the endpoint %q is not a URL such as %s", c.Endpoint, defaultEndpoint)
	}
	config, err := c.tls(u.Hostname())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.Scheme+"://"+u.Host+"/readyz", nil)
	if err != nil {
		return err
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer hc.CloseIdleConnections()
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(body)); resp.StatusCode != http.StatusOK || text != "ok" {
		return fmt.Errorf("the server answered HTTP %d: %q", resp.StatusCode, text)
	}
	_, err = fmt.Fprintln(w, "ok")
	return err
}

// tls checks the server's certificate, but not on this very machine: the
// question and its answer hold nothing that anybody could want, and the
// certificate may be for the name that others use.
func (c *healthCommand) tls(host string) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if ip := net.ParseIP(host); c.CAFile == "" && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		out.InsecureSkipVerify = true
		return out, nil
	}
	if c.CAFile == "" {
		return out, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("the CA file: %w", err)
	}
	out.RootCAs = x509.NewCertPool()
	if !out.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in the CA file")
	}
	return out, nil
}
