package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/client"
	"github.com/opensesame-kms/opensesame/internal/mask"
)

type keyCmds struct {
	Status        keyStatus        `cmd:"" help:"Show the root key, the keyring and how far rotations are (operator)."`
	RotateRoot    keyRotateRoot    `cmd:"" name:"rotate-root" help:"Replace the root key of the running server (operator)."`
	RotateRing    keyRotateRing    `cmd:"" name:"rotate-ring" help:"Replace the keys of the keyring of the running server, and carry all records over (operator)."`
	SetPassphrase keySetPassphrase `cmd:"" name:"set-passphrase" help:"Seal the root key under a passphrase, or a new one, while the server is stopped."`
}

// rotation is a rotation as the server describes it.
type rotation struct {
	Kind, RotationId, State, Phase, Note string
	Done, Total, Failed                  int
	FailedRecords, KeptKeys              []string
	StartDate, FinishDate                string
}

// line is how far the rotation is, for people.
func (r *rotation) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", r.Kind, r.State)
	if r.Phase != "" {
		fmt.Fprintf(&b, ", %s %d of %d", r.Phase, r.Done, r.Total)
	}
	if r.Failed > 0 {
		fmt.Fprintf(&b, ", %d failed", r.Failed)
	}
	if r.Note != "" {
		fmt.Fprintf(&b, ". %s", r.Note)
	}
	return b.String()
}

type keyDescription struct {
	RootKey struct {
		KeyId, Seal string
		OlderKeyIds []string //nolint:revive // the wire's spelling
	}
	Keyring struct {
		Key []struct {
			Purpose, CreateDate string
			Version             int
			OlderVersions       []string
		}
	}
	Rotations struct{ Rotation []rotation }
}

func describeKeys(ctx context.Context, cl *client.Client) (*keyDescription, error) {
	var out keyDescription
	err := cl.Call(ctx, "opensesame", "DescribeKeyRotation", nil, &out)
	return &out, err
}

type keyStatus struct {
	connection
	output
}

func (c *keyStatus) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	d, err := describeKeys(ctx, cl)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, d)
	}
	if err := fields(w, "Root key", d.RootKey.KeyId, "Seal", d.RootKey.Seal, "Older root keys", strings.Join(d.RootKey.OlderKeyIds, ", ")); err != nil {
		return err
	}
	rows := [][]string{{"PURPOSE", "VERSION", "CREATED", "OLDER"}}
	for _, k := range d.Keyring.Key {
		rows = append(rows, []string{k.Purpose, fmt.Sprint(k.Version), k.CreateDate, strings.Join(k.OlderVersions, ", ")})
	}
	_, _ = fmt.Fprintln(w) // the table reports
	if err := table(w, rows); err != nil {
		return err
	}
	for i := range d.Rotations.Rotation {
		r := &d.Rotations.Rotation[i]
		if _, err := fmt.Fprintln(w, "\n"+r.line()); err != nil {
			return err
		}
		for _, f := range r.FailedRecords {
			_, _ = fmt.Fprintln(w, "  failed:", f)
		}
	}
	return nil
}

// rotating is what the commands that start a rotation have in common.
type rotating struct {
	connection
	output
	NoWait bool `name:"no-wait" help:"Do not wait for the end; sesame key status shows how far it is."`
}

// start asks for a rotation and follows it to its end. If the server or this
// command is stopped meanwhile nothing is lost: the next start of the server
// carries it on.
func (c *rotating) start(ctx context.Context, w io.Writer, operation string, params map[string]string) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	var out struct{ Rotation rotation }
	if err := cl.Call(ctx, "opensesame", operation, params, &out); err != nil {
		return err
	}
	r, err := c.follow(ctx, w, cl, &out.Rotation)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = printJSON(w, r)
	}
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d records could not be carried over; sesame key status names them", r.Failed)
	}
	return err
}

func (c *rotating) follow(ctx context.Context, w io.Writer, cl *client.Client, r *rotation) (*rotation, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	shown := ""
	for {
		if line := r.line(); c.Output != "json" && line != shown {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return nil, err
			}
			shown = line
		}
		if c.NoWait || r.State != "Running" {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("stopped waiting; the server goes on, and sesame key status shows how far it is")
		case <-tick.C:
		}
		d, err := describeKeys(ctx, cl)
		if err != nil {
			return nil, fmt.Errorf("the rotation was begun, and goes on with the server: %w", err)
		}
		for i := range d.Rotations.Rotation {
			if next := &d.Rotations.Rotation[i]; next.Kind == r.Kind {
				r = next
			}
		}
	}
}

type keyRotateRoot struct {
	rotating
	ForgetOld bool `name:"forget-old" help:"Make no new root key, but drop the older ones: backups made under them then open with a copy of root.key from before only."`
}

func (c *keyRotateRoot) Run(ctx context.Context, w io.Writer) error {
	params := map[string]string{}
	if c.ForgetOld {
		params["ForgetOld"] = "true"
	}
	return c.start(ctx, w, "RotateRootKey", params)
}

type keyRotateRing struct{ rotating }

func (c *keyRotateRing) Run(ctx context.Context, w io.Writer) error {
	return c.start(ctx, w, "RotateKeyring", nil)
}

type keySetPassphrase struct {
	output
	Data string `required:"" placeholder:"DIR" help:"Data folder of the stopped server."`
	passphraseFlag
	NewPassphraseFile string `name:"new-passphrase-file" placeholder:"FILE" env:"SESAME_NEW_PASSPHRASE_FILE" help:"File that holds the new passphrase. Without it, for a root key in clear text, that of --passphrase-file; else it is asked for."`
}

func (c *keySetPassphrase) Run(w io.Writer) error {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	sealed, err := app.HasPassphrase(data) // before the folder is taken: it may be none
	if err != nil {
		return err
	}
	oldFile, newFile := c.file(), c.NewPassphraseFile
	if !sealed {
		if newFile == "" {
			newFile = oldFile
		}
		oldFile = ""
	}
	fresh := askNewPassphrase
	if newFile != "" {
		fresh = func() (mask.Bytes, error) { return app.ReadPassphrase(newFile) }
	}
	if err := app.SetPassphrase(data, oldFile, askPassphrase, fresh); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, map[string]any{"Seal": "passphrase", "Changed": sealed})
	}
	text := "The root key is sealed under the passphrase now. Start the server with SESAME_PASSPHRASE_FILE, and copy keys/root.key to a safe place again.\n" +
		"The root key itself is the one that was in clear text: older copies of the file still open the data. Replace it with sesame key rotate-root, and drop it with --forget-old."
	if sealed {
		text = "The passphrase was changed. Copies of keys/root.key from before still open under the one before."
	}
	_, err = fmt.Fprintln(w, text)
	return err
}

// passphraseFlag says where the passphrase of the root key is.
type passphraseFlag struct {
	PassphraseFile string `name:"passphrase-file" placeholder:"FILE" env:"SESAME_PASSPHRASE_FILE" help:"File that holds the passphrase of the root key; others must not be able to read it. /dev/fd/3 reads an open file descriptor. Without it the systemd credential sesame-passphrase, or the terminal."`
}

// credentialName is the systemd credential that holds the passphrase
// (LoadCredential= in the unit).
const credentialName = "sesame-passphrase"

// file is the file that holds the passphrase, empty if there is none.
func (f passphraseFlag) file() string {
	if f.PassphraseFile != "" {
		return f.PassphraseFile
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, credentialName)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// askPassphrase asks for the passphrase on the terminal.
func askPassphrase() (mask.Bytes, error) {
	return ask("Passphrase of the root key: ")
}

// askNewPassphrase asks twice: what was mistyped once would lock everybody out.
func askNewPassphrase() (mask.Bytes, error) {
	first, err := ask("New passphrase: ")
	if err != nil {
		return first, err
	}
	second, err := ask("Again: ")
	if err == nil && !first.Equal(second) {
		err = errors.New("the two passphrases differ")
	}
	second.Wipe()
	return first, err
}

// ask reads a line from the terminal without showing it.
func ask(prompt string) (mask.Bytes, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return mask.Bytes{}, errors.New("the root key needs a passphrase, and there is no terminal to ask on: name the file that holds it in SESAME_PASSPHRASE_FILE")
	}
	_, _ = fmt.Fprint(os.Stderr, prompt)
	text, err := term.ReadPassword(fd)
	_, _ = fmt.Fprintln(os.Stderr)
	if err != nil {
		return mask.Bytes{}, fmt.Errorf("read the passphrase: %w", err)
	}
	return mask.NewBytes(bytes.TrimRight(text, "\r\n")), nil
}
