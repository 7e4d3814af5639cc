package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// window is how much of a secret may not occur anywhere: a quotation of its start or end would hold as much.
const window = 16

// needles are the forms in which a secret could leak: as it is, in hex, and in base64 of either alphabet at any
// alignment. Each stands for one window of the secret.
func needles(secret []byte) map[string]string {
	out := make(map[string]string)
	for at := 0; at < len(secret); at += window / 2 {
		part := secret[at:min(at+window, len(secret))]
		if len(part) < window {
			part = secret[max(0, len(secret)-window):]
		}
		out[string(part)] = "as it is"
		out[hex.EncodeToString(part)] = "in hex"
		out[strings.ToUpper(hex.EncodeToString(part))] = "in upper-case hex"
		for shift := range 3 {
			for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				// What stands before and after decides the characters at the ends: only those between are sure.
				text := alphabet.EncodeToString(append(make([]byte, shift), part...))
				out[text[(shift*8+5)/6:(shift+len(part))*8/6]] = "in base64"
			}
		}
	}
	return out
}

// canaries are secrets by name.
type canaries map[string][]byte

// search looks for every canary in text that somebody could see.
func (c canaries) search(t *testing.T, where string, text []byte) {
	t.Helper()
	for name, secret := range c {
		for needle, form := range needles(secret) {
			if at := bytes.Index(text, []byte(needle)); at >= 0 {
				t.Errorf("%s shows the %s %s: %q", where, name, form, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

func TestTheSearchFindsASecretInEveryForm(t *testing.T) {
	secret := []byte("\x00\xff\xfe>>>???a secret of no special length")
	found := func(text string) bool {
		for needle := range needles(secret) {
			if strings.Contains(text, needle) {
				return true
			}
		}
		return false
	}
	for _, around := range []string{"", "a", "ab", "abc", "abcd"} {
		inside := []byte(around + string(secret) + around)
		for name, text := range map[string]string{
			"as it is": string(inside), "hex": hex.EncodeToString(inside), "upper-case hex": strings.ToUpper(hex.EncodeToString(inside)),
			"std": base64.StdEncoding.EncodeToString(inside), "raw std": base64.RawStdEncoding.EncodeToString(inside),
			"url": base64.URLEncoding.EncodeToString(inside), "raw url": base64.RawURLEncoding.EncodeToString(inside),
			"its start": string(inside[:len(around)+24]), "its end": base64.StdEncoding.EncodeToString(inside[len(inside)-len(around)-24:]),
		} {
			if !found(text) {
				t.Errorf("%s with %q around it was not found", name, around)
			}
		}
	}
	if found("nothing of it") {
		t.Error("it was found where it is not")
	}
}
