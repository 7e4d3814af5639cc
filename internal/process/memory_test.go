package process

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/internal/transittest"
	"github.com/signerd/signerd/internal/version"
)

// canary is a secret that is searched for.
type canary struct {
	name   string // as docs/threat-model.md calls it
	secret []byte
}

func TestAForcedCoreHoldsWhatTheThreatModelSays(t *testing.T) {
	want := documented(t)
	searched := make(map[string]bool)
	search := func(t *testing.T, core []byte, canaries ...canary) {
		for _, c := range canaries {
			searched[c.name] = true
			want[c.name].compare(t, c.name, found(core, c.secret))
		}
	}
	t.Run("with a root key file", func(t *testing.T) { searchWithFile(t, search) })
	t.Run("with a passphrase", func(t *testing.T) {
		passphrase := rand.Text() + rand.Text()
		s := install(t, "{passphrase: {parameters: parameters, fd: 0}}", memoryConfig, func(s *signerd) { s.input = passphrase + "\n" })
		s.crashing(t)
		s.launch(t)
		search(t, s.core(t), canary{"passphrase", []byte(passphrase)})
	})
	t.Run("with a transit", func(t *testing.T) {
		engine := transittest.Start(t)
		s := install(t, transitKey(engine), memoryConfig, func(s *signerd) { writeTransitFiles(t, s, engine) })
		s.crashing(t)
		s.launch(t)
		search(t, s.core(t), canary{"transit token", []byte(transittest.Token)})
	})
	for name := range want {
		if !searched[name] && (hasHPKE() || !slices.Contains(needHPKE, name)) {
			t.Errorf("nothing searched for the %s, which the threat model lists", name)
		}
	}
}

// needHPKE are the secrets that there are with HPKE alone.
var needHPKE = []string{"secret imported sealed", "recovery key's private half"}

// hasHPKE reports whether the cryptographic module in force has it.
func hasHPKE() bool { return version.FIPS() != "only" }

const memoryConfig = "audit: {dir: ../log}\n"

// crashing has signerd leave a core when it is told to abort, whatever it does against that.
func (s *signerd) crashing(t *testing.T) {
	t.Helper()
	s.underKernel(t, dumpable)
	s.env = append(s.env, "GOTRACEBACK=crash")
}

// core has the process dump core, and so ends it. Where the kernel leaves no core in a folder, the memory is read instead, as a debugger
// would.
func (s *signerd) core(t *testing.T) []byte {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_CORE, &limit))
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	must(t, err)
	if strings.ContainsAny(string(pattern), "|/") || limit.Max != unix.RLIM_INFINITY {
		t.Logf("cores go to %q here, up to %d bytes: the memory is read", pattern, limit.Max)
		out := s.memory(t)
		s.stop(t)
		return out
	}
	must(t, s.cmd.Process.Signal(syscall.SIGABRT))
	var rest strings.Builder
	for line := range s.log {
		_, _ = fmt.Fprintln(&rest, line)
	}
	_ = s.cmd.Wait() // it was killed
	files, err := filepath.Glob(s.path("anchor/core*"))
	if must(t, err); len(files) != 1 {
		t.Fatalf("it ended with %v and left the cores %v; core_pattern is %q; it says:\n%s", s.cmd.ProcessState, files, pattern, &rest)
	}
	out, err := os.ReadFile(files[0])
	must(t, err)
	t.Logf("the kernel dumped its core of %d bytes", len(out))
	must(t, os.Remove(files[0]))
	return used(out)
}

func searchWithFile(t *testing.T, search func(*testing.T, []byte, ...canary)) {
	gateway := partners.NewNoon(time.Now)
	noon := httptest.NewServer(gateway)
	defer noon.Close()
	rootKey := keyFile
	if hasHPKE() {
		rootKey = "{file: root.key, recovery_public_key: recovery.pub}"
	}
	s := install(t, rootKey, memoryConfig+fmt.Sprintf("noon: {base_urls: [%q]}\n", noon.URL), func(s *signerd) {
		if hasHPKE() {
			must(t, recovery.Create(s.path("other/recovery.key"), s.path("etc/recovery.pub")))
		}
	})
	s.crashing(t)
	s.launch(t)
	s.allowEverything(t)

	shared, apiKey, sealed := []byte(rand.Text()+rand.Text()), []byte("soak_sandbox_"+rand.Text()), []byte(rand.Text()+rand.Text())
	s.importKey(t, "noba", "noba", map[string][]byte{"api_key": []byte(rand.Text()), "secret": shared})
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	s.importKey(t, "noah", "noah", map[string][]byte{"api_key": apiKey, "private_key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})})
	scalar, err := key.Bytes()
	must(t, err)
	account, private := noonAccount(t, gateway, noon.URL)
	s.importKey(t, "noon", "noon", account)
	canaries := []canary{
		{"Noba secret", shared}, {"NOAH private key", scalar}, {"API key", apiKey},
		{"Noon private key", private.Primes[0].Bytes()}, // which is enough to have it
		{"root key", keyIn(t, s.path("etc/root.key"))},
	}
	if hasHPKE() {
		s.importSealed(t, "sealed", map[string][]byte{"api_key": []byte(rand.Text()), "secret": sealed})
		canaries = append(canaries, canary{needHPKE[0], sealed}, canary{needHPKE[1], keyIn(t, s.path("other/recovery.key"))})
	}
	use := func() canary {
		signer := signerdv1.NewSignerServiceClient(s.conn)
		for range 100 {
			_, err := signer.ComputeNobaSignature(t.Context(), &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: "GET", Path: "/v1"})
			must(t, err)
			_, err = signer.SignNoahRequest(t.Context(), &signerdv1.SignNoahRequestRequest{Key: "noah", Method: "GET", Path: "/v1"})
			must(t, err)
		}
		session, err := signer.GetNoonSession(t.Context(), &signerdv1.GetNoonSessionRequest{Key: "noon"})
		must(t, err)
		return canary{"Noon session cookie", []byte(session.GetCookies()[0].GetValue())}
	}
	t.Log("after import and signing")
	session := use()
	search(t, s.core(t), append(canaries, session)...)
	s.launch(t)
	t.Log("after another start and signing")
	session = use()
	search(t, s.core(t), append(canaries, session)...)
}

// keyIn is the key in a file of a prefix and base64.
func keyIn(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.ReadFile(path)
	must(t, err)
	_, encoded, _ := strings.Cut(strings.TrimSpace(string(file)), ":")
	key, err := base64.StdEncoding.DecodeString(encoded)
	must(t, err)
	return key
}

// lies says in which forms a secret is in memory: always, and perhaps.
type lies struct{ always, perhaps []string }

// documented reads the table of docs/threat-model.md under "A core dump taken by force".
func documented(t *testing.T) map[string]lies {
	t.Helper()
	text, err := os.ReadFile("../../docs/threat-model.md")
	must(t, err)
	_, after, _ := strings.Cut(string(text), "\n## A core dump taken by force\n")
	section, _, _ := strings.Cut(after, "\n## ")
	out := make(map[string]lies)
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]*) \| ([^|]*) \|$`).FindAllStringSubmatch(section, -1) {
		if row[1] != "secret" {
			out[row[1]] = lies{forms(t, row[2]), forms(t, row[3])}
		}
	}
	if len(out) < 5 {
		t.Fatalf("docs/threat-model.md lists %d secrets", len(out))
	}
	return out
}

func forms(t *testing.T, cell string) (out []string) {
	t.Helper()
	for name := range strings.SplitSeq(strings.TrimSpace(cell), ", ") {
		if name == "" || name == "–" {
			continue
		}
		if !slices.Contains([]string{"plain", "reversed", "base64", "hex"}, name) {
			t.Errorf("docs/threat-model.md says %q, which is nothing that is searched for", name)
		}
		out = append(out, name)
	}
	return out
}

func (l lies) compare(t *testing.T, name string, found map[string]int) {
	t.Helper()
	t.Logf("of the %s are there: %v", name, found)
	for _, form := range l.always {
		if found[form] == 0 {
			t.Errorf("the %s is not there in %s, as the threat model says: or the search finds nothing", name, form)
		}
	}
	for form := range found {
		if !slices.Contains(l.always, form) && !slices.Contains(l.perhaps, form) {
			t.Errorf("the %s is there in %s, and the threat model does not say so", name, form)
		}
	}
}

// memory is all that the process can write to. As root it is read past dumpable.
func (s *signerd) memory(t *testing.T) []byte {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", s.cmd.Process.Pid))
	must(t, err)
	defer func() { _ = maps.Close() }()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", s.cmd.Process.Pid))
	must(t, err)
	defer func() { _ = mem.Close() }()
	var out []byte
	for scanner := bufio.NewScanner(maps); scanner.Scan(); {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(scanner.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		part, _ := io.ReadAll(io.NewSectionReader(mem, from, to-from)) // what cannot be read is in no core either
		out = append(out, part...)
	}
	if len(out) < 1<<20 {
		t.Fatalf("the memory has %d bytes", len(out))
	}
	return used(out)
}

// used is memory without the pages that nothing was ever written to.
func used(memory []byte) []byte {
	const page = 4096
	out, empty := memory[:0], make([]byte, page)
	for part := range slices.Chunk(memory, page) {
		if !bytes.Equal(part, empty) {
			out = append(out, part...)
		}
	}
	return out
}

// piece is how much of a secret must be there to count: lines of PEM cut longer ones.
const piece = 16

// found counts in which forms any piece of a secret is there.
func found(core, secret []byte) map[string]int {
	out := make(map[string]int)
	for at := 0; at+piece <= len(secret); at += piece {
		p := secret[at : at+piece]
		reversed := slices.Clone(p)
		slices.Reverse(reversed) // as big integers are kept
		for form, patterns := range map[string][][]byte{
			"plain": {p}, "reversed": {reversed}, "hex": {hexOf(p), bytes.ToUpper(hexOf(p))}, "base64": base64Of(p),
		} {
			for _, pattern := range patterns {
				if n := bytes.Count(core, pattern); n > 0 {
					out[form] += n
				}
			}
		}
	}
	return out
}

func hexOf(p []byte) []byte { return hex.AppendEncode(nil, p) }

// base64Of gives what stands in base64 and base64url wherever p begins in it.
func base64Of(p []byte) (out [][]byte) {
	for before := range 3 {
		padded := append(make([]byte, before), p...)
		whole := len(padded) / 3 * 3
		text := base64.StdEncoding.EncodeToString(padded[:whole])[min(before, 1)*4:]
		out = append(out, []byte(text), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text)))
	}
	return out
}
