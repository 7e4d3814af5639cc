package noba_test

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream/noba"
)

func verified(t testing.TB, c *noba.Credential, s noba.Signature) bool {
	t.Helper()
	made, err := c.Verifier().(*noba.Verifier).Verifies(s)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// signature is what the partner gets of a signed request.
func signature(t testing.TB, c *noba.Credential, method, path string, body []byte) noba.Signature {
	t.Helper()
	r, err := noba.NewRequest(noba.RequestParams{Method: method, Path: path, Body: body}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	headers := c.Sign(r, testTime)
	mac, err := hex.DecodeString(headers[noba.HeaderSignature])
	if err != nil {
		t.Fatal(err)
	}
	return noba.Signature{Timestamp: headers[noba.HeaderTimestamp], APIKey: headers[noba.HeaderAPIKey], Method: method, Path: path, Body: body, MAC: mac}
}

func TestASignatureIsVerifiedByTheSecretThatMadeItAlone(t *testing.T) {
	c, other := newCredential(t, testKey, testSecret), newCredential(t, testKey, testSecret+"2")
	s := signature(t, c, "POST", "/v1/x", []byte(`{"a":1}`))
	if !verified(t, c, s) || verified(t, other, s) {
		t.Error("it is not said to be of its own secret alone")
	}
	for _, part := range []*string{&s.Timestamp, &s.APIKey, &s.Method, &s.Path} {
		before := *part
		for _, wrong := range []string{"", before + "x", before[1:], before[:len(before)-1]} {
			if *part = wrong; verified(t, c, s) {
				t.Errorf("with %q for %q it is taken", wrong, before)
			}
		}
		*part = before
	}
	for i := range s.MAC {
		s.MAC[i] ^= 1
		if verified(t, c, s) {
			t.Errorf("with byte %d changed it is taken", i)
		}
		s.MAC[i] ^= 1
	}
	for _, wrong := range [][]byte{nil, {}, s.MAC[:31], append(bytes.Clone(s.MAC), 0)} {
		of := s
		of.MAC = wrong
		if verified(t, c, of) {
			t.Errorf("a signature of %d bytes is taken", len(wrong))
		}
	}
}

func TestAnEmptyBodyIsVerifiedAsItIs(t *testing.T) {
	c := newCredential(t, testKey, testSecret)
	s := signature(t, c, "GET", "/v1/x", nil)
	if verified(t, c, s) {
		t.Error("an empty body was taken for {}")
	}
	if s.Body = []byte("{}"); !verified(t, c, s) {
		t.Error("{} was not what is signed without a body")
	}
}

func TestEveryVectorIsVerified(t *testing.T) {
	tried := 0
	for _, v := range readVectors(t) {
		if v.Signature == "" || len(v.Request.Body) == 0 || bytes.ContainsAny([]byte(v.Request.Path), "?") {
			continue
		}
		tried++
		millis := v.NowMillis
		if v.Request.TimestampMillis != nil {
			millis = *v.Request.TimestampMillis
		}
		mac, err := hex.DecodeString(v.Signature)
		if err != nil {
			t.Fatal(err)
		}
		s := noba.Signature{Timestamp: strconv.FormatInt(millis, 10), APIKey: v.APIKey, Method: strings.ToUpper(v.Request.Method), Path: v.Request.Path, Body: []byte(v.Request.Body), MAC: mac}
		if !verified(t, newCredential(t, v.APIKey, v.Secret), s) {
			t.Errorf("%s is not", v.Name)
		}
	}
	if tried == 0 {
		t.Error("no vector was tried")
	}
}

func TestAnAPIKeyIsTheWholeOne(t *testing.T) {
	v := newCredential(t, testKey, testSecret).Verifier()
	for apiKey, want := range map[string]bool{testKey: true, "": false, testKey + "\n": false, testKey[1:]: false, testSecret: false} {
		if v.HasAPIKey(apiKey) != want {
			t.Errorf("of %q it is said %t", apiKey, !want)
		}
	}
}
