package compat

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opensesame-kms/opensesame/sesametest"
)

// patience is how long the steps of a test may take on a busy machine.
const patience = time.Minute

const demoSecret = "bailian!demo-api-key"

// TestDev is what a stranger does first: start the development server, and read
// the secret that is in it with a program that knows only the environment file.
// Killed and started again on its data, the server has the same value.
func TestDev(t *testing.T) {
	dir := t.TempDir()
	sesame, readenv := filepath.Join(dir, "sesame"), filepath.Join(dir, "readenv")
	build(t, "..", sesame, "./cmd/sesame")
	build(t, ".", readenv, "./readenv")

	dev := &devServer{program: sesame, data: filepath.Join(dir, "data"), env: filepath.Join(dir, "env")}
	dev.start(t)
	first := dev.environment(t)
	value := dev.run(t, readenv)
	if value == "" {
		t.Fatal("readenv printed nothing")
	}
	for _, c := range callers {
		t.Run(c.name, func(t *testing.T) { devRefusals(t, c.caller, first) })
	}

	dev.kill(t)
	dev.start(t)
	if again := dev.run(t, readenv); again != value {
		t.Error("after kill -9 and a restart another value is read")
	}
	second := dev.environment(t)
	for name, was := range first {
		if strings.HasPrefix(name, "SESAME_ENDPOINT") || name == "SESAME_HTTP_ENDPOINT" {
			continue // the port was the system's choice
		}
		if second[name] != was {
			t.Errorf("after the restart %s is another", name)
		}
	}
}

// devRefusals checks, with the credentials of the environment file, that nobody
// does the other's part.
func devRefusals(t *testing.T, how caller, env map[string]string) {
	ca, err := os.ReadFile(env["SESAME_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	key := func(prefix string) sesametest.Credential {
		c := sesametest.Credential{AccessKeyID: env[prefix+"_ACCESS_KEY_ID"], AccessKeySecret: env[prefix+"_ACCESS_KEY_SECRET"]}
		if c.AccessKeyID == "" || c.AccessKeySecret == "" {
			t.Fatalf("the environment file has no key %s", prefix)
		}
		return c
	}
	srv := &sesametest.Server{Host: env["SESAME_ENDPOINT_HOST"], HTTPURL: env["SESAME_HTTP_ENDPOINT"], CAPEM: ca, Region: env["SESAME_REGION"]}
	root := at{t, srv, how, key("SESAME_ROOT")}
	reader := root.as(key("ALIBABA_CLOUD"))
	manage := func(code string) at {
		prefix := "SESAME_PRODUCT_" + code
		return root.as(session(root.as(key(prefix)).ok("sts", "AssumeRole", params{"RoleArn": env[prefix+"_ROLE_ARN"], "RoleSessionName": "test"}, nil)))
	}
	const refused = "Forbidden.NoPermission"
	demo := params{"SecretName": demoSecret}

	reader.kms("GetSecretValue", demo, nil)
	root.kms("GetSecretValue", demo, nil)
	manage("BAILIAN_APIKEY").kms("DescribeSecret", demo, nil)

	root.kmsRefused("DeleteSecret", demo, 403, refused).mention(t, "Model Studio")
	root.kmsRefused("PutSecretValue", demo.with("VersionId", "v2", "SecretData", "x"), 403, refused).mention(t, "Model Studio")
	ordinary := newSecret.with("SecretName", strings.ReplaceAll(t.Name(), " ", "-"))
	root.kms("CreateSecret", ordinary, nil)
	reader.kmsRefused("GetSecretValue", params{"SecretName": ordinary["SecretName"]}, 403, refused)
	alb := manage("ALB")
	alb.kmsRefused("CreateSecret", newSecret.with("SecretName", "bailian!of-alb"), 403, refused)
	alb.kmsRefused("PutSecretValue", demo.with("VersionId", "v2", "SecretData", "x"), 403, refused)
	alb.kmsRefused("GetSecretValue", demo, 403, refused)
}

func build(t *testing.T, module, program, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", program, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// devServer is `sesame dev` in a process of its own.
type devServer struct {
	program, data, env string

	process *exec.Cmd
	exited  chan string // how it ended
	output  bytes.Buffer
}

// start starts the program and waits for the environment file, which it writes
// once it is ready.
func (d *devServer) start(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.env); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	d.output.Reset()
	d.process = exec.Command(d.program, "dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", d.data, "--env-file", d.env)
	d.process.Stdout, d.process.Stderr = io.Discard, &d.output // what it prints holds credentials
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	d.exited = make(chan string, 1)
	go func(p *exec.Cmd, exited chan<- string) { exited <- fmt.Sprint(p.Wait()) }(d.process, d.exited)
	t.Cleanup(func() { _ = d.process.Process.Kill() })

	ready, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		info, err := os.Stat(d.env)
		if err == nil {
			if info.Mode().Perm() != 0o600 {
				t.Errorf("the environment file has the mode %v, want 0600", info.Mode().Perm())
			}
			return
		}
		select {
		case how := <-d.exited:
			t.Fatalf("sesame dev ended: %s\n%s", how, d.output.String())
		case <-ready.Done():
			t.Fatal("sesame dev was not ready in time")
		case <-poll.C:
		}
	}
}

// kill ends the server as a power cut would.
func (d *devServer) kill(t *testing.T) {
	t.Helper()
	if err := d.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(patience):
		t.Fatal("sesame dev outlived kill -9")
	}
}

// run runs a program that knows nothing but the environment file, and returns
// what it printed.
func (d *devServer) run(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `. "$1" && exec "$2"`, "sh", d.env, program)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, stderr.String())
	}
	return string(out)
}

// environment is what a shell has after sourcing the file.
func (d *devServer) environment(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `. "$1" && env -0`, "sh", d.env)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok {
			vars[name] = value
		}
	}
	maps.DeleteFunc(vars, func(name, _ string) bool {
		return !strings.HasPrefix(name, "SESAME_") && !strings.HasPrefix(name, "ALIBABA_CLOUD_")
	})
	return vars
}
