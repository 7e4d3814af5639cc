//go:build clients

// Package clients holds the examples in five languages to the local partners: a real signerd makes their headers, over its Unix socket and
// over TLS, and what they send must be accepted; what somebody changes on the way must not be.
//
// It is for `make test-clients`, which needs every language's tools and the network for their packages; the build tag keeps it out of
// `make test`. Nothing imports it.
package clients

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds one command; the first build of a language fetches its packages.
const patience = 10 * time.Minute

// language is a folder with a client. Commands run in the folder.
type language struct {
	name    string
	needs   []string // programs on PATH
	prepare [][]string
	tests   [][]string // its own tests, with the environment of an installation
	example []string
	soak    []string // sends what a file of requests says; nil for none
}

var languages = []language{
	{name: "go", needs: []string{"go"}, example: []string{"go", "run", "."}},
	{name: "typescript", needs: []string{"node", "npm"}, prepare: [][]string{{"npm", "ci", "--silent"}, {"npm", "run", "--silent", "build"}},
		tests: [][]string{{"npm", "test", "--silent"}}, example: []string{"env", "TRANSPORT=grpc-js,connect", "node", "dist/example.js"},
		soak: []string{"node", "dist/soak.js"}},
	{name: "java", needs: []string{"java", "mvn"}, prepare: [][]string{{"mvn", "-q", "-B", "-DskipTests", "package"}},
		tests: [][]string{{"mvn", "-q", "-B", "test"}}, example: []string{"java", "-cp", "target/classes:target/dependency/*", "io.github.signerd.client.Example"}},
	{name: "rust", needs: []string{"cargo"}, prepare: [][]string{{"cargo", "build", "--quiet", "--locked"}},
		tests: [][]string{{"cargo", "test", "--quiet", "--locked"}}, example: []string{"cargo", "run", "--quiet", "--locked"}},
	{name: "python", needs: []string{"python3"}, prepare: [][]string{{"./prepare.sh"}},
		tests: [][]string{{".venv/bin/python", "-m", "pytest", "-q"}}, example: []string{".venv/bin/python", "example.py"},
		soak: []string{".venv/bin/python", "soak.py"}},
}

func TestEveryLanguagesExampleIsAcceptedByThePartners(t *testing.T) {
	in := install(t)
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			l.ready(t)
			for _, over := range []struct {
				name        string
				environment []string
			}{{"the Unix socket", in.overSocket()}, {"mTLS", in.overTLS()}} {
				t.Run("over "+over.name, func(t *testing.T) {
					before := in.accepted()
					out, err := l.run(t, over.environment, l.example...)
					if err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
					for _, p := range []string{"noah", "noba", "noon"} {
						if !strings.Contains(string(out), "\n"+p+" 200 ") {
							t.Errorf("%s did not answer 200:\n%s", p, out)
						}
					}
					for partner, n := range in.accepted() {
						if n <= before[partner] {
							t.Errorf("%s accepted nothing", partner)
						}
					}
				})
			}
			for _, how := range tamperings {
				t.Run(how.partner+" refuses another "+how.part, func(t *testing.T) { in.refuses(t, l, how) })
			}
			for _, test := range l.tests {
				if out, err := l.run(t, in.overSocket(), test...); err != nil {
					t.Errorf("%s: %v\n%s", strings.Join(test, " "), err, out)
				}
			}
		})
	}
}

// refuses has one byte changed between the example and its partner, and wants the partner's refusal told, and signerctl to know why.
func (in *installation) refuses(t *testing.T, l language, how tampering) {
	before := in.accepted()
	captured, url := in.between(t, how)
	environment := slices.Concat(in.overSocket(), []string{strings.ToUpper(how.partner) + "_URL=" + url, "PARTNERS=" + how.partner})
	out, err := l.run(t, environment, l.example...)
	if err == nil || !strings.Contains(string(out), "\n"+how.partner+" 401 ") {
		t.Errorf("with another %s the example ended with %v:\n%s", how.part, err, out)
	}
	if after := in.accepted(); after[how.partner] != before[how.partner] {
		t.Errorf("a changed %s was accepted", how.part)
	}
	explained := in.explain(t, how.partner, captured())
	if !strings.Contains(explained, how.cause) {
		t.Errorf("signerctl explain does not name %q:\n%s", how.cause, explained)
	}
}

// ready installs and generates, once.
func (l language) ready(t *testing.T) {
	for _, program := range l.needs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing, which clients/%s needs", program, l.name)
			}
			t.Skipf("%s is missing, which clients/%s needs", program, l.name)
		}
	}
	for _, command := range l.prepare {
		if out, err := l.run(t, nil, command...); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
}

// run gives what a command printed, with a line end before.
func (l language) run(t *testing.T, environment []string, command ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = l.name, append(os.Environ(), environment...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	out.WriteByte('\n')
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}

// explain asks signerctl about a request as it arrived.
func (in *installation) explain(t *testing.T, partner string, request []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "request")
	must(t, os.WriteFile(file, request, 0o600))
	cmd := exec.CommandContext(t.Context(), in.signerctl, "explain", file, "--key", partner+"-app")
	cmd.Env = append(os.Environ(), "SIGNERD_ADDRESS=unix://"+in.path("admin.sock"))
	out, _ := cmd.CombinedOutput() // it ends with 1 when it found something
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("preparing: %w", err))
	}
}
