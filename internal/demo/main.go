// Command demo shows signerd end to end on one machine: it starts `signerd dev`, makes and imports keys with signerctl,
// signs the requests of the partners' pages, and sends them over HTTP to local partners that check every byte.
//
// It ends with 0 only if every request was accepted, and a forged one was not.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/signerd/signerd/internal/partners"
)

// patience bounds the whole demo.
const patience = time.Minute

func main() {
	bin := flag.String("bin", "bin", "the folder that holds signerd and signerctl")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := run(ctx, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string) (err error) {
	dir, err := os.MkdirTemp("", "signerd-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := demo{ctx: ctx, bin: bin, dir: dir}
	stop, err := d.startSignerd()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := d.setUpNOAH(); err != nil {
		return err
	}
	if err := d.setUpNoba(); err != nil {
		return err
	}
	if err := d.setUpNoon(); err != nil {
		return err
	}
	if err := d.send(); err != nil {
		return err
	}
	fmt.Println("\nEvery request was accepted, and the forged one was not.")
	return nil
}

type demo struct {
	ctx              context.Context
	bin, dir         string
	noah, noba, noon *httptest.Server
}

// startSignerd starts `signerd dev` and waits until it says that it serves. stop ends it and expects exit 0.
func (d *demo) startSignerd() (stop func() error, err error) {
	step("signerd dev: one folder, one socket, nothing to prepare")
	cmd := exec.CommandContext(d.ctx, filepath.Join(d.bin, "signerd"), "dev", "--dir", filepath.Join(d.dir, "s"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting signerd: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "is serving") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return func() error {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					return err
				}
				return cmd.Wait()
			}, nil
		}
	}
	return nil, fmt.Errorf("signerd did not start: %w\n%s", cmd.Wait(), log.String())
}

// signerctl runs signerctl and shows what a person would type.
func (d *demo) signerctl(stdin []byte, args ...string) ([]byte, error) {
	fmt.Println("  $ signerctl", strings.Join(args, " "))
	cmd := exec.CommandContext(d.ctx, filepath.Join(d.bin, "signerctl"), args...)
	cmd.Env = append(os.Environ(), "SIGNERD_ADDRESS=unix://"+filepath.Join(d.dir, "s", "signerd.sock"))
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("signerctl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

func (d *demo) setUpNOAH() error {
	step("a NOAH key, made inside signerd; only the public half comes out")
	if _, err := d.signerctl(nil, "key", "create", "demo-noah", "--env", "sandbox"); err != nil {
		return err
	}
	public, err := d.signerctl(nil, "key", "public", "demo-noah")
	if err != nil {
		return err
	}
	noah := partners.NewNOAH("sandbox", time.Now)
	d.noah = httptest.NewServer(noah)
	apiKey, err := noah.CreateAPIKey(public)
	if err != nil {
		return fmt.Errorf("the local NOAH refused the public key: %w", err)
	}
	fmt.Println("  the local NOAH took the public key and gave an API key")
	_, err = d.signerctl([]byte(apiKey+"\n"), "key", "activate", "demo-noah", "--version", "1", "--api-key", "-")
	return err
}

func (d *demo) setUpNoba() error {
	step("a Noba secret, imported from files as the partner hands it out")
	apiKey, secret := "demo-"+rand.Text(), rand.Text()
	for name, text := range map[string]string{"api-key": apiKey, "secret": secret} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text+"\n"), 0o600); err != nil {
			return err
		}
	}
	noba := partners.NewNoba(time.Now)
	noba.Strict = true
	noba.Register(apiKey, []byte(secret), true)
	d.noba = httptest.NewServer(noba)
	_, err := d.signerctl(nil, "key", "import", "demo-noba", "--scheme", "noba", "--env", "sandbox",
		"--api-key", filepath.Join(d.dir, "api-key"), "--secret", filepath.Join(d.dir, "secret"))
	return err
}

// pageBody is the body of NOAH's page "Request Signing".
const pageBody = `{"CryptoCurrency":"USDC_TEST","CustomerID":"noah-1235","ExternalID":"noah-funds-124","FiatAmount":"100","FiatCurrency":"USD","LineItems":[{"Description":"100 USDT for use in noah.com","Quantity":"1","TotalFiatAmount":"100","UnitFiatAmount":"100"}],"Nonce":"nonce-987654321","PaymentMethodCategory":"Bank","ReturnURL":"https://noah.com"}`

// request is one request of the demo: how it is signed, and what is sent.
type request struct {
	title  string
	sign   []string // signerctl's arguments before method and target
	base   string
	method string
	target string
	typed  []string // query parameters with their types, instead of the target's query
	signed string   // the body that is signed
	sent   string   // the body that is sent
	forged bool
	// session marks headers that are good for every request: signerctl is not told this one.
	session bool
}

func (d *demo) send() error {
	noah, noba := []string{"sign", "noah", "demo-noah"}, []string{"sign", "noba", "demo-noba"}
	for _, r := range []request{
		{title: "NOAH, the page's request with parameters, a number and a string", sign: noah, base: d.noah.URL, method: "GET",
			target: "/v1/transactions?PageSize=20&SortDirection=ASC", typed: []string{"PageSize:=20", "SortDirection=ASC"}},
		{title: "NOAH, the same with the query as it goes on the wire", sign: noah, base: d.noah.URL, method: "GET", target: "/v1/transactions?PageSize=20&SortDirection=ASC"},
		{title: "NOAH, the page's request with a body", sign: noah, base: d.noah.URL, method: "POST", target: "/v1/checkout/buy", signed: pageBody, sent: pageBody},
		{title: "Noba, the page's path", sign: noba, base: d.noba.URL, method: "GET", target: "/v1/countries/US"},
		{title: "Noba, a request with a body", sign: noba, base: d.noba.URL, method: "POST", target: "/v1/payments", signed: `{"amount":"100","currency":"USD"}`, sent: `{"amount":"100","currency":"USD"}`},
		{title: "Noon, with the session of one login", sign: []string{"session", "noon", "demo-noon"}, base: d.noon.URL, method: "GET", target: "/identity/v1/whoami", session: true},
		{title: "NOAH, the amount changed after signing: must be refused", sign: noah, base: d.noah.URL, method: "POST", target: "/v1/checkout/buy", signed: pageBody, sent: strings.Replace(pageBody, `"100"`, `"900"`, 1), forged: true},
	} {
		if err := d.signAndSend(r); err != nil {
			return fmt.Errorf("%s: %w", r.title, err)
		}
	}
	return nil
}

func (d *demo) signAndSend(r request) error {
	step(r.title)
	target := r.target
	if len(r.typed) > 0 {
		target, _, _ = strings.Cut(target, "?")
	}
	args := slices.Clone(r.sign)
	if !r.session {
		args = append(args, r.method, target)
	}
	args = append(args, "-o", "json")
	for _, parameter := range r.typed {
		args = append(args, "--query", parameter)
	}
	if r.signed != "" {
		args = append(args, "--body", "-")
	}
	out, err := d.signerctl([]byte(r.signed), args...)
	if err != nil {
		return err
	}
	var answer struct {
		Headers map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return fmt.Errorf("reading what signerctl printed: %w", err)
	}
	req, err := http.NewRequestWithContext(d.ctx, r.method, r.base+r.target, strings.NewReader(r.sent))
	if err != nil {
		return err
	}
	fmt.Printf("  > %s %s\n", r.method, r.target)
	for _, name := range slices.Sorted(maps.Keys(answer.Headers)) {
		req.Header.Set(name, answer.Headers[name])
		fmt.Printf("  > %s: %s\n", name, shorten(answer.Headers[name]))
	}
	if r.sent != "" {
		req.Header.Set("Content-Type", "application/json")
		fmt.Printf("  > \n  > %s\n", shorten(r.sent))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	fmt.Printf("  < %s %s\n", resp.Status, bytes.TrimSpace(body))
	if accepted := resp.StatusCode == http.StatusOK; accepted == r.forged {
		return errors.New("that is not the answer it should be")
	}
	return nil
}

func step(title string) { fmt.Printf("\n%s\n", title) }

// shorten keeps a line readable.
func shorten(s string) string {
	const most = 96
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d characters)", s[:most], len(s))
}
