package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/app"
	"github.com/opensesame-kms/opensesame/internal/backup"
)

type backupCommand struct {
	connection
	output
	Out   string `required:"" placeholder:"FILE" help:"File to write, which must not exist yet; - for standard output."`
	Audit bool   `help:"Put the audit log into the backup too."`
}

// Run asks the running server for a backup and keeps it only if it is whole.
// The report goes to standard error if the backup goes to standard output.
func (c *backupCommand) Run(ctx context.Context, w io.Writer, errw errorStream) error {
	if c.Out != "-" {
		if _, err := os.Lstat(c.Out); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s exists: a backup never replaces another; give another name", c.Out)
		}
	}
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	params := map[string]string{}
	if c.Audit {
		params["Audit"] = "true"
	}
	stream, err := cl.Stream(ctx, "opensesame", "Backup", params)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	var head backup.Header
	report := w
	if c.Out == "-" {
		report = errw
		head, err = backup.Copy(w, stream)
	} else {
		head, err = saveBackup(c.Out, stream)
	}
	if err != nil {
		return fmt.Errorf("the backup is not complete and must not be kept: %w", err)
	}
	return reportBackup(report, c.Output, c.Out, head)
}

// saveBackup writes the stream under a passing name in the same folder, and
// gives it its own once it is whole and on disk.
func saveBackup(path string, stream io.Reader) (head backup.Header, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return head, err
	}
	defer func() {
		if rerr := os.Remove(f.Name()); err == nil {
			err = rerr
		}
	}()
	head, err = backup.Copy(f, stream)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return head, err
	}
	// Not a rename, which would replace what somebody else put there meanwhile.
	if err := os.Link(f.Name(), path); err != nil {
		return head, err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return head, err
	}
	return head, errors.Join(d.Sync(), d.Close())
}

func reportBackup(w io.Writer, format, out string, h backup.Header) error {
	if format == "json" {
		return printJSON(w, map[string]any{
			"File": out, "Region": h.Region, "BackupTime": h.Created.UTC(), "Revision": h.Revision, "Audit": h.Audit, "RootKey": h.RootKey,
		})
	}
	log := "not in it"
	if h.Audit {
		log = "in it"
	}
	return fields(w, "Backup", out, "Region", h.Region, "Made", h.Created.UTC().Format(time.RFC3339),
		"Revision", fmt.Sprint(h.Revision), "Audit log", log, "Opens with root key", h.RootKey)
}

type restoreCmds struct {
	Backup  restoreBackup  `cmd:"" default:"withargs" help:"Restore a backup into an empty data folder, while no server runs there."`
	Confirm restoreConfirm `cmd:"" help:"Let accounts make changes again after a restore (operator)."`
}

type restoreBackup struct {
	output
	passphraseFlag
	In       string `required:"" placeholder:"FILE" help:"The backup; - for standard input."`
	Data     string `required:"" placeholder:"DIR" help:"Data folder to restore into: empty, or not there yet."`
	Keys     string `required:"" placeholder:"DIR" help:"Folder that holds root.key."`
	AuditLog string `name:"audit-log" placeholder:"DIR" help:"Audit log that was saved from the lost server: it tells what was withdrawn since the backup."`
}

func (c *restoreBackup) Run(ctx context.Context, w io.Writer) (err error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	in, done, err := c.open(data)
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, done()) }()
	r, err := app.Restore(ctx, app.Restoring{
		Backup: in, DataDir: data, KeysDir: c.Keys, AuditLog: c.AuditLog, PassphraseFile: c.file(), Passphrase: askPassphrase,
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, r)
	}
	_, err = io.WriteString(w, restoreReport(r, data))
	return err
}

// open returns the backup as a file that can be read twice. What comes from
// standard input is put aside, still encrypted, beside the target.
func (c *restoreBackup) open(data string) (io.ReadSeeker, func() error, error) {
	if c.In != "-" {
		f, err := os.Open(c.In)
		if err != nil {
			return nil, nil, err
		}
		return f, f.Close, nil
	}
	f, err := os.CreateTemp(filepath.Dir(data), ".restore.*") // mode 0600
	if err != nil {
		return nil, nil, err
	}
	done := func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
	if _, err := io.Copy(f, os.Stdin); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return f, done, nil
}

func restoreReport(r *app.Restored, data string) string {
	var b strings.Builder
	made := r.Backup.UTC().Format(time.RFC3339)
	fmt.Fprintf(&b, "Restored %d records of %s (region %s, revision %d) into %s.\n", r.Records, made, r.Region, r.Revision, data)
	if !r.Audit {
		b.WriteString("The audit log was not in the backup: the server begins a new one.\n")
	}
	if r.DamagedCount > 0 {
		fmt.Fprintf(&b, "\n%d records were damaged before the backup was made, and are refused as they were then:\n  %s\n",
			r.DamagedCount, strings.Join(r.Damaged, "\n  "))
	}
	fmt.Fprintf(&b, "\nAll changes since %s are lost, and all sessions have ended.\n", made)
	if r.Revived == nil {
		b.WriteString("Everything that was deleted, detached, disabled or suspended since then is back: access keys work\n" +
			"again, policies are attached again, secrets can be read again. Which ones, the audit log of the lost\n" +
			"server would tell (--audit-log).\n")
	} else {
		revivedReport(&b, r.Revived)
	}
	b.WriteString("\nAccounts can read and not change anything until you have looked at this and confirmed, with the server\nrunning: sesame restore confirm\n")
	return b.String()
}

func revivedReport(b *strings.Builder, r *app.Revived) {
	if len(r.AccessKeys)+len(r.Attachments)+len(r.Secrets)+len(r.Other) == 0 {
		b.WriteString("By the audit log nothing was withdrawn since then that is back now.\n")
		return
	}
	b.WriteString("By the audit log these had been withdrawn since then, and are back:\n")
	for _, group := range []struct {
		what   string
		things []app.RevivedThing
	}{
		{"Access keys that work again", r.AccessKeys}, {"Policies that are attached again", r.Attachments},
		{"Secrets that can be read again", r.Secrets}, {"Other changes that are undone", r.Other},
	} {
		if len(group.things) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n%s:\n", group.what)
		rows := [][]string{}
		for _, t := range group.things {
			rows = append(rows, []string{"  " + t.Name, "account " + dash(t.Account), t.By + " by " + t.Who, t.At.UTC().Format(time.RFC3339)})
		}
		_ = table(b, rows) // a builder never fails
	}
}

type restoreConfirm struct {
	connection
	output
}

func (c *restoreConfirm) Run(ctx context.Context, w io.Writer) error {
	cl, err := c.asOperator()
	if err != nil {
		return err
	}
	var out struct {
		Confirmed  bool
		BackupTime string `json:",omitempty"`
		RequestId  string
	}
	if err := cl.Call(ctx, "opensesame", "ConfirmRestore", nil, &out); err != nil {
		return err
	}
	if c.Output == "json" {
		return printJSON(w, out)
	}
	text := "Nothing waits to be confirmed: accounts can make changes."
	if out.Confirmed {
		text = "Confirmed: the state of " + out.BackupTime + " is the one that counts. Accounts can make changes again."
	}
	_, err = fmt.Fprintln(w, text)
	return err
}
