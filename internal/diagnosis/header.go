package diagnosis

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

func quote(s string) string { return strconv.Quote(s) }

// only gives a header that must be there once, or what is wrong with it.
func only(h http.Header, name, advice string) (string, *Finding) {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return "", &Finding{MissingHeader, "headers: " + name + " is missing", advice}
	case len(values) > 1:
		return "", &Finding{RepeatedHeader, fmt.Sprintf("headers: %s is there %d times", name, len(values)),
			"set the header in one place, and replace it when a request is signed again"}
	case strings.TrimSpace(values[0]) == "":
		return "", &Finding{MissingHeader, "headers: " + name + " is empty", advice}
	}
	return values[0], nil
}

// apiKeyForm finds what does not belong into an API key: what surrounds it in a file or a configuration.
func apiKeyForm(key string) *Finding {
	what := ""
	switch {
	case strings.ContainsAny(key, "\r\n"), strings.Contains(key, `\n`):
		what = "a line break: it was read from a file with its end of line"
	case strings.HasPrefix(key, `"`) || strings.HasPrefix(key, "'"):
		what = "quotation marks: they belong to the configuration it comes from"
	case strings.HasPrefix(strings.ToLower(key), "bearer "):
		what = "the word Bearer, which this partner does not want"
	case strings.ContainsAny(key, " \t"):
		what = "a space"
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }):
		what = "a character that is not printable ASCII"
	case strings.ContainsAny(key, "${}<>"):
		what = "a placeholder that was not filled in"
	default:
		return nil
	}
	return &Finding{MalformedAPIKey, "headers: the API key holds " + what, "send the API key as the partner showed it, and nothing else"}
}

// noahEnvironments are NOAH's hosts.
var noahEnvironments = map[string]string{"api.noah.com": "prod", "api.sandbox.noah.com": "sandbox"}

// hostName is a Host header without its port.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(host)
}

// fitEnvironment compares what the API key of NOAH says with the host and with env, the key's environment at signerd.
func fitEnvironment(r Request, apiKey, env string) []Finding {
	parts := strings.SplitN(apiKey, "_", 3)
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return []Finding{{MalformedAPIKey, "headers: X-Api-Key has not the form <type>_<env>_<key>", "send the API key as the dashboard showed it"}}
	}
	if parts[1] != "sandbox" && parts[1] != "prod" {
		return []Finding{{MalformedAPIKey, "headers: the API key names an environment that is neither sandbox nor prod", "send the API key as the dashboard showed it"}}
	}
	var found []Finding
	if host, ok := noahEnvironments[hostName(r.Host)]; ok {
		if host != parts[1] {
			found = append(found, Finding{WrongEnvironment, fmt.Sprintf("environment: the API key is for %s, and the host %s is %s", parts[1], hostName(r.Host), host),
				"send the request to the host of the key's environment, or have it signed with a key of the host's"})
		}
		if r.Scheme == "http" {
			found = append(found, Finding{PlainHTTP, "the request went out over plain HTTP", "use https; and as the API key went over the wire in the clear, have a new one made"})
		}
	}
	if env != "" && env != parts[1] {
		found = append(found, Finding{WrongEnvironment, fmt.Sprintf("environment: the API key is for %s, and the key is for %s", parts[1], env),
			"use headers of one answer of signerd together, and name the key of the environment that is called"})
	}
	return found
}
