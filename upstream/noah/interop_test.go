package noah_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/interop"
	"github.com/signerd/signerd/upstream/noah"
)

// verifyLine and verifyAnswer are what internal/interop/noah.js reads and writes.
type verifyLine struct {
	Token          string   `json:"token"`
	PublicPEM      string   `json:"publicPem"`
	Algorithms     []string `json:"algorithms"`
	ClockTimestamp int64    `json:"clockTimestamp"`
}

type verifyAnswer struct {
	OK      bool            `json:"ok"`
	Error   string          `json:"error"`
	Header  json.RawMessage `json:"header"`
	Payload string          `json:"payload"`
	Parsed  json.RawMessage `json:"parsed"`
}

// Every vector, in both algorithms, by the library of the partner's own example.
func TestJsonwebtokenVerifiesEveryVector(t *testing.T) {
	var names, lines, payloads []string
	for _, algorithm := range []string{noah.ES384, noah.ES256} {
		a := newAccount(t, algorithm)
		for _, v := range readVectors(t) {
			if v.Error != "" {
				continue
			}
			token := a.sign(t, v.params(t), time.Unix(v.Now, 0))[noah.HeaderSignature]
			line, err := json.Marshal(verifyLine{token, string(a.publicPEM), []string{algorithm}, v.Now})
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, algorithm+": "+v.Name)
			lines = append(lines, string(line))
			payloads = append(payloads, string(segment(t, token, 1)))
		}
		for name, token := range shortSignatures(t, a) {
			line, err := json.Marshal(verifyLine{token, string(a.publicPEM), []string{algorithm}, pageTime.Unix()})
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, algorithm+": "+name)
			lines = append(lines, string(line))
			payloads = append(payloads, string(segment(t, token, 1)))
		}
	}
	for i, line := range interop.Node(t, "noah.js", lines) {
		var answer verifyAnswer
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			t.Fatal(err)
		}
		if !answer.OK {
			t.Errorf("%s: %s", names[i], answer.Error)
			continue
		}
		if answer.Payload != payloads[i] {
			t.Errorf("%s: it reads\n%s, signed was\n%s", names[i], answer.Payload, payloads[i])
		}
		// JSON.stringify wrote these numbers: where they are the same texts, they are as ECMAScript writes them.
		if got, want := sorted(t, answer.Parsed), sorted(t, []byte(payloads[i])); got != want {
			t.Errorf("%s: JavaScript writes\n%s, signed was\n%s", names[i], got, want)
		}
	}
}

// shortSignatures signs until r and s each came out with a leading zero byte.
func shortSignatures(t *testing.T, a *account) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for range maxSignatures {
		token := a.sign(t, noah.RequestParams{Method: "GET", Path: "/v1/transactions"}, pageTime)[noah.HeaderSignature]
		signature := segment(t, token, 2)
		if signature[0] == 0 {
			found["a short r"] = token
		}
		if signature[len(signature)/2] == 0 {
			found["a short s"] = token
		}
		if len(found) == 2 {
			return found
		}
	}
	t.Fatalf("%d of 2 kinds in %d signatures", len(found), maxSignatures)
	return nil
}

func TestJsonwebtokenRefusesATokenUnderAnotherKey(t *testing.T) {
	a, b := newAccount(t, noah.ES384), newAccount(t, noah.ES384)
	token := a.sign(t, noah.RequestParams{Method: "GET", Path: "/"}, pageTime)[noah.HeaderSignature]
	line, err := json.Marshal(verifyLine{token, string(b.publicPEM), []string{noah.ES384}, pageTime.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	var answer verifyAnswer
	if err := json.Unmarshal([]byte(interop.Node(t, "noah.js", []string{string(line)})[0]), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.OK {
		t.Error("it verifies")
	}
}
