package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/sample"
)

// patience is how long a development server waits for its disk before it
// refuses a request: it runs beside compilers and on the disks of CI machines,
// and its clients would rather wait.
const patience = 10 * time.Second

type devCommand struct {
	passphraseFlag
	Listen     string   `help:"Address of the HTTPS listener; port 0 takes a free port." default:"127.0.0.1:8443"`
	HTTP       string   `name:"http" placeholder:"ADDR" help:"Add a plain-HTTP listener on this loopback address, for clients that need one."`
	Data       string   `placeholder:"DIR" help:"Keep the data in this folder; without it they end with the server."`
	Region     string   `help:"Region to serve (${default_region} if nothing is given)."`
	AccountID  string   `name:"account-id" placeholder:"ID" help:"Id of the sample account, 16 digits."`
	TLSNames   []string `name:"tls-name" placeholder:"NAME" help:"Further name or address that the certificate is valid for; may be repeated."`
	BreakGlass bool     `name:"break-glass" help:"Allow the operator to get credentials that could read secrets: account reset-root-key, and further service credentials."`
	Limits     string   `help:"Limits on the rate of requests: ${enum}." enum:"none,documented" default:"none"`
	EnvFile    string   `name:"env-file" placeholder:"FILE" help:"Write what to export to this file (mode 0600) once the server is ready."`
	LogLevel   string   `help:"Least level of the server's log on standard error: ${enum}." enum:"debug,info,warn,error" default:"warn"`
}

func (c *devCommand) Run(ctx context.Context, w io.Writer) (err error) {
	began := time.Now()
	if c.AccountID != "" {
		if err := sample.CheckAccountID(c.AccountID); err != nil {
			return err
		}
	}
	putBack, err := c.retireEnvFile()
	if err != nil {
		return fmt.Errorf("the env file: %w", err)
	}
	data, remove, err := c.dataDir()
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, remove()) }()
	a, err := app.Start(ctx, config.Config{
		DataDir: data, Region: c.Region, Listen: c.Listen, HTTP: c.HTTP, PassphraseFile: c.file(),
		TLS: config.TLS{Names: c.TLSNames}, Limits: config.Limits{None: c.Limits != "documented"},
		Timeouts: config.Timeouts{Read: patience, Write: patience}, Audit: config.Audit{LateAfter: patience},
		AllowBreakGlass: c.BreakGlass,
	}, app.Options{Logger: logger(c.LogLevel), Passphrase: askPassphrase})
	if err != nil {
		putBack()
		return err
	}
	defer func() { err = firstError(err, a.Close(context.WithoutCancel(ctx))) }()
	s, job, err := c.prepare(ctx, a, data)
	if err != nil {
		return err
	}
	env := environment(a, s)
	if c.EnvFile != "" {
		if err := app.WriteFile(c.EnvFile, []byte(env.file()), 0o600); err != nil {
			return fmt.Errorf("write the env file: %w", err)
		}
	}
	if err := report(w, a, job, env, time.Since(began), c.EnvFile); err != nil {
		return err
	}
	if err := a.Wait(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, "\nStopping.")
	return err
}

// retireEnvFile takes away the env file of an earlier server, for whoever waits
// for the new one must not find the old. If this server is not to be, because
// that one is running still, putBack brings it back.
func (c *devCommand) retireEnvFile() (putBack func(), err error) {
	putBack = func() {}
	if c.EnvFile == "" {
		return putBack, nil
	}
	old, err := os.ReadFile(c.EnvFile)
	if errors.Is(err, fs.ErrNotExist) {
		return putBack, nil
	}
	if err == nil {
		err = os.Remove(c.EnvFile)
	}
	return func() { _ = app.WriteFile(c.EnvFile, old, 0o600) }, err
}

// dataDir returns the data folder's absolute path, for the paths that are shown
// must hold in other folders too, and what to do with it in the end.
func (c *devCommand) dataDir() (path string, remove func() error, err error) {
	if c.Data != "" {
		path, err = filepath.Abs(c.Data)
		return path, func() error { return nil }, err
	}
	path, err = os.MkdirTemp("", "sesame-dev-")
	return path, func() error { return os.RemoveAll(path) }, err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// mainJob is what was done, and where its records begin in the audit log.
type mainJob struct {
	steps []sample.Step
	mark  uint64
}

// prepare fills the sample account and does the main job, through the front
// door.
func (c *devCommand) prepare(ctx context.Context, a *app.App, data string) (s *sample.Sample, job mainJob, err error) {
	id, secret, err := a.Operator()
	if err != nil {
		return nil, job, fmt.Errorf("operator's credential: %w", err)
	}
	s, err = sample.Prepare(ctx, sample.Config{
		Endpoint: a.LoopbackURL(), CAPEM: a.CAPEM(), Region: a.Region(), AccountID: c.AccountID,
		Operator: sample.Credential{ID: id, Secret: secret}, File: filepath.Join(data, "dev.json"), Write: app.WriteFile,
	})
	if err != nil {
		return nil, job, err
	}
	if job.mark, err = a.AuditMark(ctx); err != nil {
		return nil, job, err
	}
	job.steps, err = s.MainJob(ctx)
	return s, job, err
}

// logger writes JSON on standard error, from the level on.
func logger(name string) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(name)) // one that was checked
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
