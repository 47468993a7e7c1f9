package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
)

// bind takes the listeners' addresses. It comes first, so that an address that
// is taken is told before anything is opened or made; who connects already is
// answered when listen serves.
func (a *App) bind(context.Context) (err error) {
	if a.tlsSocket, err = a.socket(a.cfg.Listen); err != nil || a.cfg.HTTP == "" {
		return err
	}
	a.httpSocket, err = a.socket(a.cfg.HTTP)
	return err
}

func (a *App) socket(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err // it says "listen" and the address
	}
	a.onClose(func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // the HTTP server has closed it
	})
	return l, nil
}

// listen serves on the listeners.
func (a *App) listen(context.Context) error {
	a.https = a.serve(tls.NewListener(a.tlsSocket, &tls.Config{
		GetCertificate: a.certs.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}))
	if a.httpSocket != nil {
		a.http = a.serve(a.httpSocket)
	}
	return nil
}

// serve runs an HTTP server on the listener until Close, which lets running
// requests finish.
func (a *App) serve(l net.Listener) *listener {
	s := &listener{Listener: l, server: a.gateway.HTTP()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case a.fatal <- fmt.Errorf("the listener %s failed: %w", l.Addr(), err):
			default:
			}
		}
	}()
	a.onClose(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		err := s.server.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.server.Close())
		}
		<-done
		return err
	})
	return s
}

// certificateNames are the names that clients may reach the server by: its
// address, loopback, the host names that clients with a fixed endpoint use for
// this region, and those of the config.
func (a *App) certificateNames(l net.Listener) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
		names = append(names, host)
	}
	if host, _, err := net.SplitHostPort(a.cfg.Listen); err == nil && host != "" {
		names = append(names, host)
	}
	for _, product := range []string{"kms", "kms-vpc", "sts", "sts-vpc"} {
		names = append(names, product+"."+a.cfg.Region+".aliyuncs.com")
	}
	names = append(names, a.cfg.TLS.Names...)
	slices.Sort(names)
	return slices.Compact(names)
}
