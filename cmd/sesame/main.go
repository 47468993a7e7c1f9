// Command sesame is OpenSesame: the server, and the commands of those who run
// and use it.
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/config"
)

// commands is the command line. Flags are for what differs from one start to
// the next; their environment variables are in the help.
type commands struct {
	Dev     devCommand     `cmd:"" help:"Start a throw-away server with a sample account, products and a secret."`
	Server  serverCommand  `cmd:"" help:"Start the server."`
	Check   checkConfigCmd `cmd:"" name:"check-config" help:"Check a config file without starting anything."`
	Health  healthCommand  `cmd:"" help:"Ask a server whether it can answer requests."`
	Secret  secretCommands `cmd:"" help:"Look at and read secrets."`
	Product productCmds    `cmd:"" help:"The registry of products (operator)."`
	Service serviceCmds    `cmd:"" help:"The registry of services and their credentials (operator)."`
	Account accountCmds    `cmd:"" help:"Accounts (operator)."`
	Key     keyCmds        `cmd:"" help:"Root key and keyring."`
	Backup  backupCommand  `cmd:"" help:"Make a backup of a running server (operator)."`
	Restore restoreCmds    `cmd:"" help:"Restore a backup into an empty data folder, and confirm it."`
	Call    callCommand    `cmd:"" help:"Call any operation of the API."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// errorStream is standard error, for commands whose result is standard output.
type errorStream struct{ io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends a stop that takes too long
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// exit carries kong's wish to end the program (after --help) out of its parser.
type exit int

// run is the program: its arguments in, its exit status out.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (status int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			status = int(r)
		default:
			panic(r)
		}
	}()
	var c commands
	parser, err := kong.New(&c,
		kong.Name("sesame"), kong.Description("OpenSesame: a key management service and secrets manager that speaks the API of Alibaba Cloud KMS."),
		kong.Writers(stdout, stderr), kong.UsageOnError(), kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(stdout, (*io.Writer)(nil)), kong.Bind(errorStream{stderr}),
		kong.Vars{"default_region": config.DefaultRegion, "default_endpoint": defaultEndpoint, "default_data": config.DefaultDataDir, "default_listen": config.DefaultListen},
	)
	if err != nil {
		panic(err) // a mistake in the declarations above
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "sesame:", err)
		return 2
	}
	if err := parsed.Run(); err != nil {
		complain(stderr, err)
		return 1
	}
	return 0
}

// complain prints an error for a person: what happened, and what may help.
func complain(w io.Writer, err error) {
	// Errors that were joined are told a line each.
	_, _ = fmt.Fprintln(w, "sesame:", strings.ReplaceAll(err.Error(), "\n", "\nsesame: "))
	if h := hint(err); h != "" {
		_, _ = fmt.Fprintln(w, "hint:", h)
	}
}

// hint says what to try after err; empty if nothing comes to mind.
func hint(err error) string {
	var unknownCA x509.UnknownAuthorityError
	if errors.As(err, &unknownCA) {
		return "SESAME_CA_FILE names the server's certificate authority; `sesame dev` prints it"
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return "is the server running? SESAME_ENDPOINT says where; `sesame dev` prints it"
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Code {
	case "InvalidAccessKeyId.NotFound", "SignatureDoesNotMatch":
		return "check the access key id and secret in the environment; `sesame dev` prints them, and a server that was started anew has new ones"
	case "InvalidTimeStamp.Expired":
		return "the clocks of this machine and the server differ by more than 15 minutes"
	}
	return ""
}

type versionCommand struct{}

func (versionCommand) Run(stdout io.Writer) error {
	_, err := fmt.Fprintln(stdout, "sesame", version())
	return err
}
