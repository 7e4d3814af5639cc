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
	"os"
	"slices"
	"strings"
	"testing"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func TestAForcedCoreHoldsWhatTheThreatModelSays(t *testing.T) {
	more := "audit: {dir: ../log}\n"
	if os.Geteuid() != 0 {
		more += "confinement: off # only root gets past it\n"
	}
	s := start(t, more, nil)
	shared := []byte(rand.Text() + rand.Text())
	s.importKey(t, "noba", "noba", map[string][]byte{"api_key": []byte("an-api-key"), "secret": shared})
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	s.importKey(t, "noah", "noah", map[string][]byte{"api_key": []byte("soak_sandbox_" + rand.Text()),
		"private_key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})})
	scalar, err := key.Bytes()
	must(t, err)
	file, err := os.ReadFile(s.path("etc/root.key"))
	must(t, err)
	_, encoded, _ := strings.Cut(strings.TrimSpace(string(file)), ":")
	root, err := base64.StdEncoding.DecodeString(encoded)
	must(t, err)

	// In base64, partners' secrets may be left over from what was sent and from records, since gRPC and encoding/json keep copies.
	after := func(what string) {
		core := s.core(t)
		for _, canary := range []struct {
			name   string
			secret []byte
			// there is the form that an opened key is in; never are those that it was read from, and must have been wiped in.
			there string
			never []string
		}{
			{"the Noba secret", shared, "plain", []string{"hex", "reversed"}},
			{"the NOAH private key", scalar, "plain", []string{"hex"}},
			{"the root key", root, "plain", []string{"hex", "reversed", "base64"}}, // its AES schedule begins with it
		} {
			forms := found(core, canary.secret)
			t.Logf("%s, of %s are there: %v", what, canary.name, forms)
			if forms[canary.there] == 0 {
				t.Errorf("%s, %s is nowhere: the search finds nothing", what, canary.name)
			}
			for _, form := range canary.never {
				if forms[form] > 0 {
					t.Errorf("%s, %s is there in %s", what, canary.name, form)
				}
			}
		}
	}
	sign := func() {
		signer := signerdv1.NewSignerServiceClient(s.conn)
		for range 100 {
			_, err := signer.ComputeNobaSignature(t.Context(), &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: "GET", Path: "/v1"})
			must(t, err)
			_, err = signer.SignNoahRequest(t.Context(), &signerdv1.SignNoahRequestRequest{Key: "noah", Method: "GET", Path: "/v1"})
			must(t, err)
		}
	}
	sign()
	after("after import and signing")
	s.stop(t)
	s.launch(t)
	sign()
	after("after another start and signing")
	s.stop(t)
}

// core is what a core dump would hold: all that the process can write to. As root it is read past dumpable.
func (s *signerd) core(t *testing.T) []byte {
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
