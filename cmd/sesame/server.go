package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/config"
)

type serverCommand struct {
	passphraseFlag
	Config         string `placeholder:"FILE" env:"SESAME_CONFIG" help:"Config file; without it everything is at its default."`
	Data           string `placeholder:"DIR" env:"SESAME_DATA" help:"Folder that holds everything the server keeps (${default_data} if nothing is given)."`
	Listen         string `placeholder:"ADDR" env:"SESAME_LISTEN" help:"Address of the HTTPS listener (${default_listen} if nothing is given)."`
	LogLevel       string `help:"Least level of the server's log on standard error: ${enum}." enum:",debug,info,warn,error" default:""`
	HideCredential bool   `help:"Do not print the operator's credential at the first start, for where the output is kept; it is in its file."`
}

func (c *serverCommand) Run(ctx context.Context, w io.Writer) (err error) {
	cfg, err := c.settings()
	if err != nil {
		return err
	}
	// From here on SIGHUP must not end the program, not even while it starts.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	log := logger(cfg.LogLevel)
	a, err := app.Start(ctx, cfg, app.Options{Logger: log, Passphrase: askPassphrase})
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, a.Close(context.WithoutCancel(ctx))) }()
	if err := c.announce(w, a, cfg.DataDir); err != nil {
		return err
	}
	if err := notifySupervisor("READY=1"); err != nil {
		log.Warn("the supervisor was not told that the server is ready", "error", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go reloadOn(ctx, hup, a)
	if err := a.Wait(ctx); err != nil {
		return err
	}
	_ = notifySupervisor("STOPPING=1") // it sees the end anyway
	_, err = fmt.Fprintln(w, "Stopping.")
	return err
}

// settings are the config file's, with the flags above them.
func (c *serverCommand) settings() (cfg config.Config, err error) {
	if c.Config != "" {
		if cfg, err = config.Load(c.Config); err != nil {
			return cfg, err
		}
	}
	cfg.DataDir = cmp.Or(c.Data, cfg.DataDir, config.DefaultDataDir)
	cfg.Listen = cmp.Or(c.Listen, cfg.Listen)
	cfg.PassphraseFile = cmp.Or(c.file(), cfg.PassphraseFile)
	cfg.LogLevel = cmp.Or(c.LogLevel, cfg.LogLevel, config.DefaultLogLevel)
	// The paths that are shown must hold in other folders too.
	cfg.DataDir, err = filepath.Abs(cfg.DataDir)
	return cfg, err
}

// reloadOn reads the certificate files again on each signal.
func reloadOn(ctx context.Context, hup <-chan os.Signal, a *app.App) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			_ = a.Reload() // it logs
		}
	}
}

// announce says that the server is ready, and after the first start what was
// made and what to keep safe.
func (c *serverCommand) announce(w io.Writer, a *app.App, data string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "OpenSesame is ready: %s, region %s, data %s\n", a.URL(), a.Region(), data)
	if a.Fresh() {
		if err := c.firstStart(&b, a); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *serverCommand) firstStart(b *strings.Builder, a *app.App) error {
	id, secret, err := a.Operator()
	if err != nil {
		return fmt.Errorf("operator's credential: %w", err)
	}
	fmt.Fprintf(b, `
This was the first start.

1. Copy the folder %[1]s to a safe place now, away from the
   backups of the rest. Without it nothing that is stored can be read again, by
   anybody; whoever has it and the data can read everything.

2. The operator's credential is kept in %[2]s (mode 0600).
`, a.KeysDir(), a.OperatorFile())
	if !c.HideCredential {
		fmt.Fprintf(b, "   It is printed only now:\n\n     export SESAME_OPERATOR_ACCESS_KEY_ID='%s'\n     export SESAME_OPERATOR_ACCESS_KEY_SECRET='%s'\n", id, secret.Reveal())
	}
	b.WriteString("\n3. There is no account yet. Make one:\n\n")
	fmt.Fprintf(b, "     export SESAME_ENDPOINT='%s'\n", a.LoopbackURL())
	if a.CAFile() != "" {
		fmt.Fprintf(b, "     export SESAME_CA_FILE='%s'\n", a.CAFile())
	}
	b.WriteString("     sesame account create --name NAME\n")
	return nil
}

// notifySupervisor tells systemd what the server is about, if it asked to be
// told (Type=notify).
func notifySupervisor(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return firstError(err, conn.Close())
}

type checkConfigCmd struct {
	File string `arg:"" help:"Config file."`
}

// Run prints ok, or every error of the file.
func (c *checkConfigCmd) Run(w io.Writer) error {
	if _, err := config.Load(c.File); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "ok")
	return err
}
