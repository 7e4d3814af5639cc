package noon_test

import (
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

func TestABaseURLIsAHostAndAPortAndNothingMore(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, good := range []string{
		"https://noon.example", "https://noon.example/", "HTTPS://Noon.Example", "https://noon.example:1", "https://noon.example:65535",
		"https://localhost", "https://xn--exmple-cua.example", "https://1a.example", "https://10.0.0.1:8443", "https://[::1]", "https://[2001:DB8::1]:8443",
		"http://127.0.0.1", "http://127.0.0.1:8080", "http://[::1]:8080", "https://" + label + ".example",
	} {
		if err := noon.CheckBaseURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "https://", "https:///", "noon.example", "https:noon.example", "ftp://noon.example", "//noon.example",
		"https://host:", "https://host:0", "https://host:00", "https://host:0443", "https://host:65536", "https://host:99999", "https://host:+1", "https://host:-1", "https://host:1:2",
		"https://.", "https://host.", "https://host..", "https://.host", "https://a..b", "https://-", "https://-a", "https://a-", "https://a.-b",
		"https://" + label + "a.example", "https://" + strings.Repeat(label+".", 4) + "example",
		"https://ho st", "https://a_b", "https://a,b", "https://a;b", "https://a'b", `https://a"b`, "https://a<b", "https://!host", "https://$(id)", "https://`id`",
		"https://exémple", "https://ex%C3%A9mple", "https://ex%2Eample", "https://%00", "https://h\x00ost", "https://h\nost", "https://host\\@evil",
		"https://user@host", "https://@host", "https://host/?", "https://host/#", "https://host#", "https://host//", "https://host/x", "https://host?a=1",
		"https://[fe80::1%25eth0]", "http://[::1%25lo]:80", "https://[::1]x", "https://[::1", "https://::1", "https://[127.0.0.1]", "https://[host]", "https://[::1]:",
		"http://localhost", "http://127.1", "https://127.1", "http://2130706433", "https://2130706433", "https://0x7f.1", "https://a.0x7f", "https://256.0.0.1", "http://10.0.0.1",
	} {
		if noon.CheckBaseURL(bad) == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestOneGatewayHasOneForm(t *testing.T) {
	d := noon.Destinations{BaseURLs: []string{"https://[2001:db8::1]:8443"}}
	m, _, err := noon.Scheme{Destinations: d}.Import(upstream.Prod, upstream.Material{
		upstream.PartCredentials: secret.New(credentialFile(t)), upstream.PartBaseURL: secret.New([]byte("https://[2001:DB8:0::0:1]:8443/")),
	})
	if err != nil || string(m[upstream.PartBaseURL].Reveal()) != d.BaseURLs[0] {
		t.Errorf("got %s, %v", m[upstream.PartBaseURL].Reveal(), err)
	}
}
