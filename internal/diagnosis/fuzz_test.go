package diagnosis_test

import (
	"net/http"
	"testing"

	"github.com/signerd/signerd/internal/diagnosis"
)

// Nothing of a request makes a diagnosis panic, or end with more than is bounded.
func FuzzDiagnosis(f *testing.F) {
	f.Add("POST", "/v1/a%20b?x=1&y", "api.noah.com", "apikey_prod_x", "eyJhbGciOiJFUzM4NCJ9.e30.AAAA", []byte(`{"a":[1.0,"ë",null,true]}`))
	f.Add("get", "*", "", "", "a.b.c", []byte("\xef\xbb\xbf{}\r\n"))
	f.Add("GET", "/?%zz", "x:1", "a_b_c", "eyJhbGciOiJFUzI1NiJ9.eyJxdWVyeVBhcmFtcyI6eyJhIjpbXX0sInBhdGgiOjF9.MAYCAQECAQE", []byte(`[[[`))
	f.Fuzz(func(t *testing.T, method, target, host, apiKey, signature string, body []byte) {
		r := diagnosis.Request{Method: method, Target: target, Host: host, Header: http.Header{
			"X-Api-Key": {apiKey}, "Api-Signature": {signature}, "X-Noba-Api-Key": {apiKey}, "X-Noba-Signature": {signature}, "X-Noba-Timestamp": {apiKey}}, Body: body}
		for _, found := range diagnosis.NOAH(r, "sandbox", now) {
			if found.Cause == "" || found.Text == "" || found.Advice == "" {
				t.Errorf("half a finding: %+v", found)
			}
		}
		diagnosis.Noba(r, "prod", now)
		diagnosis.NobaBody(r)
		candidates := diagnosis.NobaCandidates(r)
		for _, c := range candidates[1:] {
			if found := diagnosis.NobaSigned(r, c); found.Cause == "" || found.Text == "" {
				t.Errorf("half a finding: %+v", found)
			}
		}
	})
}
