package cli

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// curlRequest is a signed request, to be written as a curl command.
type curlRequest struct {
	method  string // in upper case, as it was signed
	url     string // as shell words that make one argument
	headers map[string]string
	body    *file
}

// command writes it for a POSIX shell. curl must send the target as it was signed: without globbing, and without
// squeezing dot segments out of the path.
func (r curlRequest) command() string {
	method := "--request " + shellQuote(r.method)
	if r.method == "HEAD" && !r.body.given() {
		method = "--head" // with --request HEAD curl would wait for a body
	}
	words := []string{"curl --globoff --path-as-is " + method}
	for _, name := range slices.Sorted(maps.Keys(r.headers)) {
		words = append(words, "--header "+shellQuote(name+": "+r.headers[name]))
	}
	if r.body.given() {
		// Without it curl would call the body a form.
		words = append(words, "--header "+shellQuote("Content-Type: application/json"),
			"--data-binary "+shellQuote("@"+r.body.path))
	}
	return strings.Join(append(words, r.url), " \\\n  ") + "\n"
}

// shellQuote makes one word of s in any POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// noahHosts are NOAH's hosts by the environment part of an API key.
var noahHosts = map[string]string{
	"sandbox": "https://api.sandbox.noah.com",
	"prod":    "https://api.noah.com",
}

// noahHost finds the host that takes an API key, which has the form <type>_<env>_<key>.
func noahHost(apiKey string) (string, error) {
	if parts := strings.SplitN(apiKey, "_", 3); len(parts) == 3 {
		if host, ok := noahHosts[parts[1]]; ok {
			return host, nil
		}
	}
	return "", errors.New("the API key names neither sandbox nor prod, so NOAH's host is not known; use -o headers")
}
