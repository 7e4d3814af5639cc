package capture

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// curlShort gives the long names of curl's short flags; those that take a value are in curlValues too.
var curlShort = map[byte]string{
	'H': "header", 'X': "request", 'd': "data", 'G': "get", 'I': "head", 'g': "globoff", 'F': "form", 'T': "upload-file", 'K': "config", ':': "next",
	'A': "user-agent", 'b': "cookie", 'c': "cookie-jar", 'e': "referer", 'u': "user", 'x': "proxy", 'o': "output", 'D': "dump-header", 'w': "write-out",
	'm': "max-time", 'E': "cert", 'C': "continue-at", 'r': "range", 'U': "proxy-user", 'y': "speed-time", 'Y': "speed-limit", 'z': "time-cond",
	'P': "ftp-port", 'Q': "quote", 't': "telnet-option", 's': "silent", 'S': "show-error", 'v': "verbose", 'i': "include", 'k': "insecure", 'L': "location",
	'f': "fail", 'N': "no-buffer", '0': "http1.0", '1': "tlsv1", '4': "ipv4", '6': "ipv6", '#': "progress-bar", 'O': "remote-name", 'J': "remote-header-name",
	'j': "junk-session-cookies", 'l': "list-only", 'q': "disable", 'R': "remote-time", 'a': "append", 'B': "use-ascii", 'n': "netrc", 'p': "proxytunnel",
	'Z': "parallel", 'M': "manual", 'V': "version", 'h': "help",
}

// curlValues are the flags that take a value; curlSwitches those that take none. A flag that is in neither is refused, for it is not
// known whether the next word is its own.
var curlValues = set(`header request data data-raw data-binary data-ascii data-urlencode json url form form-string upload-file config
user-agent cookie cookie-jar referer user proxy output dump-header write-out max-time cert continue-at range proxy-user speed-time speed-limit time-cond
ftp-port quote telnet-option connect-timeout cacert capath cert-type key key-type pass ciphers tls13-ciphers curves resolve connect-to interface dns-servers retry retry-delay
retry-max-time max-redirs noproxy socks4 socks4a socks5 socks5-hostname unix-socket abstract-unix-socket limit-rate max-filesize trace trace-ascii stderr
tls-max oauth2-bearer aws-sigv4 keepalive-time local-port output-dir variable expand-url expand-data expand-header proto proto-redir proto-default
proxy-header proxy-cacert proxy-cert proxy-key preproxy pinnedpubkey doh-url happy-eyeballs-timeout-ms netrc-file request-target rate etag-save etag-compare crlfile alt-svc hsts url-query`)

var curlSwitches = set(`get head globoff next silent show-error verbose include insecure location location-trusted fail fail-with-body fail-early no-buffer
http1.0 http1.1 http2 http2-prior-knowledge http3 http3-only http0.9 tlsv1 tlsv1.0 tlsv1.1 tlsv1.2 tlsv1.3 ssl ssl-reqd ipv4 ipv6 progress-bar no-progress-meter
remote-name remote-name-all remote-header-name junk-session-cookies list-only disable remote-time append use-ascii netrc netrc-optional proxytunnel parallel compressed
path-as-is basic digest ntlm negotiate anyauth retry-connrefused retry-all-errors post301 post302 post303 raw tr-encoding keepalive no-keepalive no-alpn no-npn
no-sessionid tcp-nodelay tcp-fastopen create-dirs styled-output no-styled-output trace-time trace-ids compressed-ssh ssl-no-revoke doh-insecure proxy-insecure false-start
cert-status xattr haproxy-protocol ignore-content-length suppress-connect-headers disallow-username-in-url`)

// curlRefused are flags that make another request than can be told here.
var curlRefused = map[string]string{
	"form": "a form of several parts has a boundary that curl makes up", "form-string": "a form of several parts has a boundary that curl makes up",
	"upload-file": "the body is a file", "config": "the rest of the command is in a file", "next": "it has more than one request",
	"variable": "it has variables of curl", "expand-url": "it has variables of curl", "expand-data": "it has variables of curl", "expand-header": "it has variables of curl",
	"request-target": "its target is not that of its URL", "url-query": "its query is not that of its URL", "version": "it sends no request", "help": "it sends no request", "manual": "it sends no request",
	"aws-sigv4": "curl signs it by itself",
}

func set(names string) map[string]bool {
	all := make(map[string]bool)
	for _, name := range strings.Fields(names) {
		all[name] = true
	}
	return all
}

// curlCommand is what a command line says.
type curlCommand struct {
	c       *Captured
	o       Options
	url     *word
	method  string
	data    []byte
	hasData bool
	json    bool
	flags   map[string]bool
	removed []string
}

// readCurl reads a command as a shell and curl do.
func (c *Captured) readCurl(text string, o Options) error {
	text = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(text, "\ufeff")), "$"), " ")
	if line, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(text, `curl ^"`) || strings.HasSuffix(strings.TrimRight(line, "\r"), " ^") {
		return errors.New("it is a command for Windows' cmd: copy it from the browser as cURL (bash), or as HAR")
	}
	words, ended, err := splitCommand(text)
	if err != nil {
		return err
	}
	if len(words) == 0 || words[0].text != "curl" && words[0].text != "curl.exe" {
		return errors.New("it does not begin with curl")
	}
	switch ended {
	case "&":
		c.Notes = append(c.Notes, "an & that is not in quotation marks ends the command: what follows it did not go out")
	case "\n":
		c.Notes = append(c.Notes, "only the first command is read")
	}
	k := &curlCommand{c: c, o: o, flags: make(map[string]bool)}
	if err := k.arguments(words[1:]); err != nil {
		return err
	}
	return k.finish()
}

func (k *curlCommand) arguments(words []word) error {
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		long, isLong := strings.CutPrefix(w.text, "--")
		switch {
		case isLong && long == "":
			continue
		case isLong:
			used, err := k.flag(long, words)
			if err != nil {
				return err
			}
			words = words[used:]
		case len(w.text) > 1 && w.text[0] == '-':
			used, err := k.shortFlags(w, words)
			if err != nil {
				return err
			}
			words = words[used:]
		default:
			if err := k.setURL(w); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *curlCommand) setURL(w word) error {
	if k.url != nil {
		return errors.New("it has more than one URL, or a word that is none: is something not in quotation marks?")
	}
	k.url = &w
	return nil
}

// flag carries out a long flag, and says how many of the words after it are its own.
func (k *curlCommand) flag(name string, after []word) (int, error) {
	if why, ok := curlRefused[name]; ok {
		return 0, fmt.Errorf("--%s cannot be told here: %s; capture the request as it goes out, as HTTP or HAR", name, why)
	}
	switch {
	case curlValues[name]:
		if len(after) == 0 {
			return 0, fmt.Errorf("--%s has no value", name)
		}
		return 1, k.value(name, after[0])
	case curlSwitches[name] || curlSwitches[strings.TrimPrefix(name, "no-")]:
		k.flags[name] = true
		return 0, nil
	}
	if len(name) > 40 || !isToken(name) {
		return 0, errors.New("it has a flag that is not known here")
	}
	return 0, fmt.Errorf("the flag --%s is not known here; leave it out, or capture the request as HTTP or HAR", name)
}

// shortFlags carries out -sSL, -XPOST and the like.
func (k *curlCommand) shortFlags(w word, after []word) (int, error) {
	for i := 1; i < len(w.text); i++ {
		name, ok := curlShort[w.text[i]]
		if !ok {
			return 0, errors.New("it has a short flag that is not known here; leave it out, or capture the request as HTTP or HAR")
		}
		rest := w.text[i+1:]
		if curlValues[name] && rest != "" {
			_, err := k.flag(name, []word{{rest, w.variables}})
			return 0, err
		}
		used, err := k.flag(name, after)
		if err != nil || used > 0 {
			return used, err
		}
	}
	return 0, nil
}

func (k *curlCommand) value(name string, v word) error {
	switch name {
	case "url":
		return k.setURL(v)
	case "request", "header", "data", "data-ascii", "data-raw", "data-binary", "data-urlencode", "json":
		if v.variables > 0 {
			return fmt.Errorf("--%s holds a variable of the shell: write what it stands for", name)
		}
	default:
		return nil // it takes no part in the signature
	}
	switch name {
	case "request":
		k.method = v.text
	case "header":
		return k.header(v.text)
	default:
		return k.addData(name, v.text)
	}
	return nil
}

func (k *curlCommand) header(line string) error {
	if strings.HasPrefix(line, "@") {
		return errors.New("--header reads a file: write the headers into the command")
	}
	name, value, ok := strings.Cut(line, ":")
	value = strings.Trim(value, " \t\r\n")
	switch {
	case !ok && strings.HasSuffix(line, ";"):
		return k.c.add(strings.TrimSuffix(line, ";"), "")
	case !ok:
		return nil // curl sends no such line
	case value == "":
		k.removed = append(k.removed, name)
		return nil
	}
	return k.c.add(name, value)
}

// addData appends to the body as curl does; only what is read from a file loses its line ends to -d.
func (k *curlCommand) addData(name, text string) error {
	data := []byte(text)
	file, fromFile := strings.CutPrefix(text, "@")
	switch {
	case name == "data-urlencode":
		encoded, err := urlEncoded(text)
		if err != nil {
			return err
		}
		data = []byte(encoded)
	case fromFile && name != "data-raw":
		read, err := k.readFile(file)
		if err != nil {
			return err
		}
		if data = read; name == "data" || name == "data-ascii" {
			data = slices.DeleteFunc(bytes.Clone(read), func(b byte) bool { return b == '\r' || b == '\n' || b == 0 })
			if !bytes.Equal(data, read) && !k.hasData {
				k.c.File = read
			}
		}
	}
	if k.hasData && name != "json" {
		k.data = append(k.data, '&')
		k.c.File = nil
	}
	k.data, k.hasData, k.json = append(k.data, data...), true, k.json || name == "json"
	return nil
}

func (k *curlCommand) readFile(name string) ([]byte, error) {
	if k.o.ReadFile == nil || !filepath.IsLocal(name) || name == "-" {
		return nil, errors.New("its body is in a file that is not within this folder: go to the folder where the command was run, or write the body into the command, or capture the request as HTTP or HAR")
	}
	b, err := k.o.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the file of its body: %w", err)
	}
	k.c.Notes = append(k.c.Notes, "the body was read from its file as that is now")
	return b, nil
}

// urlEncoded is what --data-urlencode makes of its value.
func urlEncoded(text string) (string, error) {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	at := strings.IndexAny(text, "=@")
	switch {
	case at < 0:
		return escape(text), nil
	case text[at] == '@':
		return "", errors.New("--data-urlencode reads a file: write its content into the command")
	case at == 0:
		return escape(text[1:]), nil
	}
	return text[:at+1] + escape(text[at+1:]), nil
}

// finish makes the request of what was read.
func (k *curlCommand) finish() error {
	c := k.c
	if k.url == nil {
		return errors.New("it has no URL")
	}
	host := c.Host // from a header
	if err := k.takeURL(); err != nil {
		return err
	}
	if host != "" {
		c.Host = host
	}
	if !k.flags["path-as-is"] {
		c.squeeze()
	}
	c.Method = "GET"
	switch {
	case k.flags["head"]:
		c.Method = "HEAD"
	case k.hasData && !k.flags["get"]:
		c.Method, c.Body = "POST", k.data
		if err := k.contentType(); err != nil {
			return err
		}
	}
	if k.hasData && k.flags["get"] {
		separator := "?"
		if strings.Contains(c.Target, "?") {
			separator = "&"
		}
		c.Target, c.File = c.Target+separator+string(k.data), nil
	}
	if k.method != "" {
		c.Method = k.method
	}
	if !isToken(c.Method) {
		return errors.New("its method is not one")
	}
	for _, name := range k.removed {
		c.Header.Del(name)
	}
	return nil
}

func (k *curlCommand) contentType() error {
	if k.c.Header.Get("Content-Type") != "" {
		return nil
	}
	if k.json {
		return k.c.add("Content-Type", "application/json")
	}
	return k.c.add("Content-Type", "application/x-www-form-urlencoded")
}

func (k *curlCommand) takeURL() error {
	text := k.url.text
	if k.url.variables > 0 {
		// The base of a URL, as `signerctl sign -o curl` writes it: the host is not known.
		at := strings.IndexByte(text, '/')
		if !strings.HasPrefix(text, "$") || at < 0 || k.url.variables > 1 {
			return errors.New("its URL holds a variable of the shell: write what it stands for")
		}
		k.c.Target, _, _ = strings.Cut(text[at:], "#")
		k.c.Notes = append(k.c.Notes, "the URL begins with a variable of the shell: its host and the beginning of its path are not known")
		return nil
	}
	if !k.flags["globoff"] && strings.ContainsAny(text, "{}[]") {
		return errors.New("its URL holds brackets or braces, which curl reads as several URLs; with --globoff it does not")
	}
	if strings.ContainsAny(text, " \t\r\n") {
		return errors.New("its URL holds white space, which curl refuses")
	}
	return k.c.setURL(text)
}
