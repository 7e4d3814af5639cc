package keystore_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// chunk is how long a piece of a secret is that must not be found. Any 31 bytes of a secret hold one whole.
const chunk = 16

// forms are the ways in which piece may stand in a file: plain, hex, and base64 wherever in it the piece begins.
func forms(piece []byte) map[string][]byte {
	out := map[string][]byte{
		"plain": piece,
		"hex":   []byte(hex.EncodeToString(piece)),
		"HEX":   []byte(strings.ToUpper(hex.EncodeToString(piece))),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for before := range 3 {
			text := encoding.EncodeToString(append(make([]byte, before), piece...))
			// The characters at either end hold bits of the neighbours too.
			first, last := (before*8+5)/6, (before+len(piece))*8/6
			out[fmt.Sprintf("%s after %d bytes", name, before)] = []byte(text[first:last])
		}
	}
	return out
}

// found lists the pieces of the secret that content holds, and one form of each.
func found(content, secret []byte) []string {
	var out []string
	for at := 0; at+chunk <= len(secret); at += chunk {
		for form, needle := range forms(secret[at : at+chunk]) {
			if bytes.Contains(content, needle) {
				out = append(out, fmt.Sprintf("bytes %d to %d in %s", at, at+chunk, form))
				break
			}
		}
	}
	return out
}

func TestTheSearchFindsASecretInEveryForm(t *testing.T) {
	secret := []byte("a secret of more than thirty-two bytes, \xff\xfe\xfb and no text alone")
	for before := range 4 {
		padded := append(bytes.Repeat([]byte{0xa5}, before), secret...)
		padded = append(padded, 0x5a, 0x5a)
		asJSON, err := json.Marshal(map[string][]byte{"x": padded})
		if err != nil {
			t.Fatal(err)
		}
		for form, content := range map[string][]byte{
			"plain": padded, "JSON": asJSON, "hex": []byte(hex.EncodeToString(padded)), "HEX": fmt.Appendf(nil, "%X", padded),
			"base64": []byte(base64.StdEncoding.EncodeToString(padded)), "base64url": []byte(base64.URLEncoding.EncodeToString(padded)),
		} {
			if got := found(content, secret); len(got) != len(secret)/chunk {
				t.Errorf("%s after %d bytes: found %q, want %d pieces", form, before, got, len(secret)/chunk)
			}
		}
	}
}

func TestNoSecretIsInTheStoresFilesInAnyForm(t *testing.T) {
	dir := t.TempDir()
	c := onDiskIn(t, dir)
	canaries := useRootKey(t, &c)
	k := initialize(t, c)
	keep := func(what string, m upstream.Material) upstream.Material {
		for part, s := range m {
			canaries[what+" "+part] = bytes.Clone(s.Reveal())
		}
		if text, ok := m[upstream.PartPrivateKey]; ok {
			block, _ := pem.Decode(text.Reveal())
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			scalar, err := key.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			canaries[what+" SEC 1"], canaries[what+" PKCS #8"], canaries[what+" scalar"] = block.Bytes, pkcs8, scalar
			canaries[what+" PKCS #8 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
		}
		return m
	}
	for _, scheme := range []string{noah.Name, noba.Name} {
		must(t)(importMaterial(t.Context(), k, scheme, scheme, upstream.Prod, keep(scheme+" 1", newMaterial(scheme, upstream.Prod))))
		must(t)(rotateTo(t.Context(), k, scheme, keep(scheme+" 2", newMaterial(scheme, upstream.Prod))))
		// What a database no longer needs stays in its free pages: old copies of records, too.
		for range 5 {
			must(t)(k.DisableVersion(t.Context(), scheme, 2, 0))
			must(t)(k.EnableVersion(t.Context(), scheme, 2, 0))
		}
	}
	pending := newMaterial(noah.Name, upstream.Prod)
	must(t)(importMaterial(t.Context(), k, "pending", noah.Name, upstream.Prod, keep("pending", upstream.Material{upstream.PartPrivateKey: pending[upstream.PartPrivateKey]})))
	late := keep("late", upstream.Material{upstream.PartAPIKey: pending[upstream.PartAPIKey]})
	if _, _, err := k.Activate(t.Context(), "pending", 1, 0, late, time.Time{}); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		for what, secret := range canaries {
			if got := found(content, secret); len(got) > 0 {
				t.Errorf("%s holds of the %s: %s", entry.Name(), what, got)
			}
		}
		return err
	})
	if err != nil || files < 2 || len(canaries) < 16 {
		t.Errorf("searched %d files for %d secrets (%v), want the store and the anchor", files, len(canaries), err)
	}
}

// useRootKey gives c a root key of its own, outside the store's folder, and returns what must not be found of it.
func useRootKey(t *testing.T, c *keystore.Config) map[string][]byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	if err := rootkey.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	key, err := rootkey.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.RootKey = key
	line, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"root key": raw, "root key's line": []byte(text)}
}
