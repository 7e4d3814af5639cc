package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
)

const valid = `store: keys.db
anchor: /elsewhere/anchor
root_key: {file: root.key}
audit: {dir: audit}
socket: {path: app.sock}
admin_socket: {path: admin.sock}
`

// rootKey is a configuration with another provider of the root key.
func rootKey(provider string) string {
	return strings.Replace(valid, "{file: root.key}", "{"+provider+"}", 1)
}

func load(t *testing.T, text string) (*config.Config, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signerd.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, server.Always())
	return c, path, err
}

func TestEveryFaultIsNamedWithFileAndLine(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
	}{
		{"an unknown key at the top", valid + "bogus: 1\n", ":7: field bogus is unknown in Config"},
		{"an unknown key inside", valid + "limits:\n  max_mesage_bytes: 5000\n", ":8: field max_mesage_bytes is unknown in Limits"},
		{"a doubled key", valid + "store: other.db\n", `:7: mapping key "store" already defined at line 1`},
		{"a doubled key inside", valid + "limits:\n  max_message_bytes: 5000\n  max_message_bytes: 6000\n", ":9: mapping key"},
		{"a wrong type", valid + "limits: {max_message_bytes: many}\n", ":7: cannot unmarshal"},
		{"a negative number of streams", valid + "limits: {max_concurrent_streams: -1}\n", ":7: cannot unmarshal"},
		{"a missing field", "store: keys.db\n", ":1: anchor: it is required"},
		{"an empty file", "", ":1: store: it is required"},
		{"a missing field inside", strings.Replace(valid, "{path: app.sock}", "{}", 1), ":5: socket.path: it is required"},
		{"store and anchor in one file", strings.Replace(valid, "/elsewhere/anchor", "keys.db", 1), ":2: anchor: it is the same file as store"},
		{"one socket for both", strings.Replace(valid, "admin.sock", "app.sock", 1), ":6: admin_socket.path: it is the same as socket.path"},
		{"a message limit that is too small", valid + "limits:\n  max_message_bytes: 1\n", ":8: limits.max_message_bytes: it is outside"},
		{"a malformed duration", valid + "shutdown_timeout: soon\n", ":7: wanted a duration"},
		{"a duration out of range", valid + "shutdown_timeout: 1h\n", ":7: shutdown_timeout: it is outside"},
		{"a malformed mode", strings.Replace(valid, "app.sock}", "app.sock, mode: rw}", 1), ":5: wanted permission bits"},
		{"a mode in decimal", strings.Replace(valid, "app.sock}", "app.sock, mode: 432}", 1), ":5: wanted permission bits"},
		{"an unknown log level", valid + "log_level: loud\n", ":7: log_level: wanted debug"},
		{"a malformed administrator", valid + "administrators:\n  - unix:uid=1\n  - alice\n", ":9: administrators[1]: wanted unix:uid=N"},
		{"the overflow uid as an administrator", valid + "administrators: [unix:uid=65534]\n", ":7: administrators[0]: uid 65534 is nobody"},
		{"everybody as an administrator", valid + "administrators: ['*']\n", ":7: administrators[0]: not everybody"},
		{"a malformed pattern", valid + "sandbox_only: ['spiffe://example.org/a*b']\n", ":7: sandbox_only[0]: "},
		{"one socket for both, spelled differently", strings.Replace(valid, "admin.sock", "./x/../app.sock", 1), ":6: admin_socket.path: it is the same as socket.path"},
		{"store and anchor in one file, spelled differently", strings.Replace(valid, "/elsewhere/anchor", "./keys.db", 1), ":2: anchor: it is the same file as store"},
		{"the root key in the store's place", strings.Replace(valid, "root.key", "keys.db", 1), ":3: root_key.file: it is the same file as store or anchor"},
		{"no root key", strings.Replace(valid, "{file: root.key}", "{}", 1), ":3: root_key: name one provider of file, passphrase, kms, transit; it has 0"},
		{"two root keys", strings.Replace(valid, "{file: root.key}", "{file: root.key, kms: {socket: kms.sock}}", 1), ":3: root_key: name one provider of file, passphrase, kms, transit; it has 2"},
		{"an empty root key file", strings.Replace(valid, "root.key", "''", 1), ":3: root_key.file: it is required"},
		{"an unknown provider", strings.Replace(valid, "{file: root.key}", "{tpm: x}", 1), ":3: field tpm is unknown in RootKey"},
		{"a passphrase without parameters", rootKey("passphrase: {terminal: true}"), ":3: root_key.passphrase.parameters: it is required"},
		{"a passphrase from nowhere", rootKey("passphrase: {parameters: p}"), ":3: root_key.passphrase: name one source of credential, fd and terminal; it has 0"},
		{"a passphrase from everywhere", rootKey("passphrase: {parameters: p, fd: 3, terminal: true}"), ":3: root_key.passphrase: name one source of credential, fd and terminal; it has 2"},
		{"a credential elsewhere", rootKey("passphrase: {parameters: p, credential: ../p}"), ":3: root_key.passphrase.credential: wanted the name"},
		{"a passphrase from standard output", rootKey("passphrase: {parameters: p, fd: 1}"), ":3: root_key.passphrase.fd: wanted 0, or 3 to 1023"},
		{"a passphrase from no file descriptor", rootKey("passphrase: {parameters: p, fd: -1}"), ":3: root_key.passphrase.fd: wanted 0, or 3 to 1023"},
		{"parameters in the anchor's place", rootKey("passphrase: {parameters: /elsewhere/anchor, fd: 0}"), ":3: root_key.passphrase.parameters: it is the same file as store or anchor"},
		{"a plugin without a socket", rootKey("kms: {timeout: 1s}"), ":3: root_key.kms.socket: it is required"},
		{"a plugin at a long path", rootKey("kms: {socket: /" + strings.Repeat("s", 107) + "}"), ":3: root_key.kms.socket: the path has 108 bytes"},
		{"a plugin without patience", rootKey("kms: {socket: s, timeout: 1ms}"), ":3: root_key.kms.timeout: it is outside 100ms to 1m"},
		{"a transit without an address", rootKey("transit: {key: k, token_file: t}"), ":3: root_key.transit.address: it is required"},
		{"a transit over plain http", rootKey("transit: {address: 'http://127.0.0.1:8200', key: k, token_file: t}"), ":3: root_key.transit.address: wanted https://HOST"},
		{"a transit with a path", rootKey("transit: {address: 'https://vault.example/v1', key: k, token_file: t}"), ":3: root_key.transit.address: wanted https://HOST"},
		{"a transit with a password", rootKey("transit: {address: 'https://a:b@vault.example', key: k, token_file: t}"), ":3: root_key.transit.address: wanted https://HOST"},
		{"a transit without a key", rootKey("transit: {address: 'https://vault.example', token_file: t}"), ":3: root_key.transit.key: it is required"},
		{"a transit key in a folder", rootKey("transit: {address: 'https://vault.example', key: a/b, token_file: t}"), ":3: root_key.transit.key: a key's name has no slash"},
		{"a transit mount that goes up", rootKey("transit: {address: 'https://vault.example', mount: a/../sys, key: k, token_file: t}"), ":3: root_key.transit.mount: wanted at most"},
		{"a transit's namespace that ends with a slash", rootKey("transit: {address: 'https://vault.example', namespace: team/, key: k, token_file: t}"), ":3: root_key.transit.namespace: wanted at most"},
		{"a transit's long namespace", rootKey("transit: {address: 'https://vault.example', namespace: " + strings.Repeat("n", 41) + ", key: k, token_file: t}"), ":3: root_key.transit.namespace: it has 41 bytes, more than 40"},
		{"a transit without a token", rootKey("transit: {address: 'https://vault.example', key: k}"), ":3: root_key.transit.token_file: it is required"},
		{"a transit without end", rootKey("transit: {address: 'https://vault.example', key: k, token_file: t, timeout: 1h}"), ":3: root_key.transit.timeout: it is outside 100ms to 1m"},
		{"a zero that would mean the default", valid + "limits: {max_message_bytes: 0}\n", ":7: limits.max_message_bytes: it is outside"},
		{"no streams at all", valid + "limits: {max_concurrent_streams: 0}\n", ":7: limits.max_concurrent_streams: it is outside"},
		{"no time to shut down", valid + "shutdown_timeout: 0s\n", ":7: shutdown_timeout: it is outside"},
		{"an unknown confinement", valid + "confinement: tight\n", ":7: confinement: wanted best-effort, required or off"},
		{"an empty log level", valid + "log_level: ''\n", ":7: log_level: wanted debug"},
		{"a forgotten value", valid + "administrators:\n", ":7: a value is missing here"},
		{"a forgotten item", valid + "administrators:\n  -\n  - alice\n", ":8: a value is missing here"},
		{"a null among callers", valid + "administrators: [unix:uid=1, ~]\n", ":7: a value is missing here"},
		{"a next root key that is named and is none", valid + "next_root_key: {}\n", ":7: next_root_key: name one provider of file, passphrase, kms, transit; it has 0"},
		{"two next root keys", valid + "next_root_key: {file: b.key, kms: {socket: kms.sock}}\n", ":7: next_root_key: name one provider of file, passphrase, kms, transit; it has 2"},
		{"a recovery key for later", valid + "next_root_key: {file: b.key, recovery_public_key: r.pub}\n", ":7: field recovery_public_key is unknown in NextRootKey"},
		{"a next plugin without a socket", valid + "next_root_key: {kms: {timeout: 1s}}\n", ":7: next_root_key.kms.socket: it is required"},
		{"a next passphrase from nowhere", valid + "next_root_key: {passphrase: {parameters: p}}\n", ":7: next_root_key.passphrase: name one source"},
		{"a next transit over plain http", valid + "next_root_key: {transit: {address: 'http://127.0.0.1:8200', key: k, token_file: t}}\n", ":7: next_root_key.transit.address: wanted https://HOST"},
		{"next parameters in the anchor's place", valid + "next_root_key: {passphrase: {parameters: /elsewhere/anchor, credential: c}}\n", ":7: next_root_key.passphrase.parameters: it is the same file as store or anchor"},
		{"the same parameters again", rootKey("passphrase: {parameters: p, credential: c}") + "next_root_key: {passphrase: {parameters: ./p, credential: d}}\n", ":7: next_root_key.passphrase.parameters: it is the same file as root_key's"},
		{"two passphrases from one file descriptor", rootKey("passphrase: {parameters: p, fd: 3}") + "next_root_key: {passphrase: {parameters: q, fd: 3}}\n", ":7: next_root_key.passphrase.fd: it is the same as root_key's"},
		{"a next root key in the root key's place", valid + "next_root_key: {file: root.key}\n", ":7: next_root_key.file: it is the same file"},
		{"no folder for records", strings.Replace(valid, "{dir: audit}", "{}", 1), ":4: audit.dir: it is required"},
		{"no time for a record", strings.Replace(valid, "dir: audit", "dir: audit, timeout: 1ms", 1), ":4: audit.timeout: it is outside"},
		{"files of a few records", strings.Replace(valid, "dir: audit", "dir: audit, max_file_bytes: 1000", 1), ":4: audit.max_file_bytes: it is outside"},
		{"files of a few seconds", strings.Replace(valid, "dir: audit", "dir: audit, max_file_age: 10s", 1), ":4: audit.max_file_age: it is outside"},
		{"records that are gone in an hour", strings.Replace(valid, "dir: audit", "dir: audit, retention: 1h", 1), ":4: audit.retention: it is under 24h"},
		{"a copy to nowhere", strings.Replace(valid, "dir: audit", "dir: audit, copy: file", 1), ":4: audit.copy: wanted stdout or syslog"},
		{"no calls at all", valid + "limits: {max_concurrent_calls: 0}\n", ":7: limits.max_concurrent_calls: it is outside"},
		{"no refusals at all", valid + "limits: {max_refusals: 0}\n", ":7: limits.max_refusals: it is outside"},
		{"refusals that are never forgiven", valid + "limits: {refusals_per_second: 0}\n", ":7: limits.refusals_per_second: it is outside"},
		{"refusals that are no number", valid + "limits: {refusals_per_second: .nan}\n", ":7: limits.refusals_per_second: it is outside"},
		{"a gateway that is no URL", valid + "noon:\n  base_urls: [https://a.example, ftp://b]\n", ":8: noon.base_urls[1]: wanted https://host"},
		{"plain http to another machine", valid + "noon: {base_urls: ['http://a.example']}\n", ":7: noon.base_urls[0]: plain http is for literal loopback"},
		{"a session without life", valid + "noon: {session_life: 1s}\n", ":7: noon.session_life: it is outside"},
		{"a timeout without end", valid + "noon: {timeout: 1h}\n", ":7: noon.timeout: it is outside"},
		{"metrics for the whole network", valid + "metrics: {address: '0.0.0.0:9464'}\n", ":7: metrics.address: wanted a literal loopback address"},
		{"metrics at a name", valid + "metrics: {address: 'localhost:9464'}\n", ":7: metrics.address: wanted a literal loopback address"},
		{"a collector that is no URL", valid + "tracing: {endpoint: 'collector:4317'}\n", ":7: tracing.endpoint: "},
		{"plain http to a collector elsewhere", valid + "tracing: {endpoint: 'http://192.0.2.1:4317'}\n", ":7: tracing.endpoint: "},
		{"more than every request", valid + "tracing:\n  endpoint: https://collector.example:4317\n  sample_ratio: 1.5\n", ":9: tracing.sample_ratio: it is outside"},
		{"a share that is no number", valid + "tracing:\n  endpoint: https://collector.example:4317\n  sample_ratio: .nan\n", ":9: tracing.sample_ratio: it is outside"},
		{"a share without a collector", valid + "tracing: {sample_ratio: 1}\n", ":7: tracing.endpoint: it is required"},
		{"broken YAML", valid + "administrators: [\n", ": "},
		{"two documents", valid + "---\nstore: x\n", "more than one YAML document"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, path, err := load(t, tt.text)
			if err == nil {
				t.Fatalf("it was accepted: %+v", c)
			}
			if want := path; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the error does not start with the file's name: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestDefaultsAndRelativePaths(t *testing.T) {
	c, path, err := load(t, valid)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for what, pair := range map[string][2]string{
		"store":        {c.Store, filepath.Join(dir, "keys.db")},
		"anchor":       {c.Anchor, "/elsewhere/anchor"},
		"root key":     {c.RootKey.File, filepath.Join(dir, "root.key")},
		"socket":       {c.Socket.Path, filepath.Join(dir, "app.sock")},
		"admin socket": {c.AdminSocket.Path, filepath.Join(dir, "admin.sock")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s, want %s", what, pair[0], pair[1])
		}
	}
	if c.Socket.Mode != 0o660 || c.AdminSocket.Mode != 0o600 || time.Duration(c.ShutdownTimeout) != 30*time.Second || c.LogLevel != "info" || c.Confinement != config.ConfineBestEffort {
		t.Errorf("defaults are %+v", c)
	}
	if asks(t, c, "unix:uid=0", "SetPolicy", "") {
		t.Error("a configuration without administrators allows something")
	}
}

func TestEachProviderOfTheRootKeyHasItsDefaults(t *testing.T) {
	const patience = config.Duration(10 * time.Second)
	for _, tt := range []struct {
		provider, made string
		want           func(dir string, r config.RootKey) bool
	}{
		{"passphrase: {parameters: p, fd: 0}", "p", func(dir string, r config.RootKey) bool {
			return r.Passphrase == config.Passphrase{Parameters: filepath.Join(dir, "p")}
		}},
		{"passphrase: {parameters: p, credential: c}", "p", func(dir string, r config.RootKey) bool {
			return r.Passphrase == config.Passphrase{Parameters: filepath.Join(dir, "p"), Credential: "c", FD: config.NoFD}
		}},
		{"kms: {socket: s}", "", func(dir string, r config.RootKey) bool {
			return r.KMS == config.KMS{Socket: filepath.Join(dir, "s"), Timeout: patience}
		}},
		{"transit: {address: 'https://vault.example:8200', namespace: team/payments, key: k, token_file: t, ca_file: /c}", "", func(dir string, r config.RootKey) bool {
			return r.Transit == config.Transit{Address: "https://vault.example:8200", Namespace: "team/payments", Mount: "transit", Key: "k", TokenFile: filepath.Join(dir, "t"), CAFile: "/c", Timeout: patience}
		}},
	} {
		c, path, err := load(t, rootKey(tt.provider))
		if err != nil {
			t.Errorf("%s: %v", tt.provider, err)
			continue
		}
		made := c.RootKey.MadeByInit()
		if made != "" {
			made = filepath.Base(made)
		}
		if !tt.want(filepath.Dir(path), c.RootKey) || made != tt.made {
			t.Errorf("%s is read as %+v, and init makes %q", tt.provider, c.RootKey, made)
		}
	}
}

// asks decides a question about a key of an environment, by a policy that allows everything but what the bounds are about.
func asks(t *testing.T, c *config.Config, caller string, operation policy.Operation, environment string) bool {
	t.Helper()
	who, err := policy.ParseCaller(caller)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{{
		Name: "everybody-gets", Effect: policy.Allow, Callers: []string{policy.Any}, Keys: []string{policy.Any}, Operations: []policy.Operation{"GetKey"},
	}}}, policy.Catalog{"GetKey": {}})
	if err != nil {
		t.Fatal(err)
	}
	q := policy.Question{Caller: who, Operation: operation}
	if environment != "" {
		q.Key = policy.Key{Name: "a", Known: true, Environment: environment}
	}
	return c.Bounds().Decide(p, q).Err() == nil
}

func TestAdministratorsAndFencedCallersAreOfEveryKind(t *testing.T) {
	callers := []string{"unix:uid=1", "spiffe://example.org/admins/alice", "dns:orders.internal"}
	c, _, err := load(t, valid+"administrators: [unix:uid=1, 'spiffe://example.org/admins/*', dns:orders.internal]\nsandbox_only: [unix:uid=1, 'spiffe://example.org/**', dns:orders.internal]\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, caller := range callers {
		if !asks(t, c, caller, "SetPolicy", "") || !asks(t, c, caller, "GetKey", "sandbox") || asks(t, c, caller, "GetKey", "prod") {
			t.Errorf("%s is not held to its bounds", caller)
		}
	}
	if asks(t, c, "unix:uid=2", "SetPolicy", "") || !asks(t, c, "unix:uid=2", "GetKey", "prod") {
		t.Error("somebody else is held to them, or let in by them")
	}
}

func TestASocketThatNobodyMayUseStaysClosed(t *testing.T) {
	c, _, err := load(t, strings.Replace(valid, "app.sock}", `app.sock, mode: "0000"}`, 1))
	if err != nil || c.Socket.Mode != 0 {
		t.Errorf("mode 0000 was read as %04o (%v)", c.Socket.Mode, err)
	}
}

func TestAPipeIsRefusedInsteadOfWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, server.Always()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error is %v", err)
	}
}

func TestAnOversizedFileIsRefusedUnread(t *testing.T) {
	if _, _, err := load(t, valid+strings.Repeat("# padding\n", 200_000)); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error is %v", err)
	}
}

func TestEveryShippedExampleLoads(t *testing.T) {
	files, err := filepath.Glob("../../docs/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples found (%v)", err)
	}
	for _, file := range files {
		if _, err := config.Load(file, server.Always()); err != nil {
			t.Error(err)
		}
	}
}

// TestEveryFieldIsDocumented keeps docs/operations.md complete.
func TestEveryFieldIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	checkFields(t, string(doc), "", reflect.TypeFor[config.Config]())
}

func checkFields(t *testing.T, doc, prefix string, typ reflect.Type) {
	for i := range typ.NumField() {
		tag := typ.Field(i).Tag.Get("yaml")
		if tag == "" {
			continue
		}
		field := typ.Field(i).Type
		if field.Kind() == reflect.Slice {
			field = field.Elem()
		}
		if field.Kind() == reflect.Struct {
			checkFields(t, doc, prefix+tag+".", field)
			continue
		}
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(prefix+tag) + "` \\| .+ \\| .+ \\| (applied|restart) \\|$").FindStringSubmatch(doc)
		if row == nil {
			t.Errorf("docs/operations.md does not explain %s%s", prefix, tag)
		} else if (row[1] == "applied") != config.Live(prefix+tag) {
			t.Errorf("docs/operations.md says that a change of %s%s is or needs: %s", prefix, tag, row[1])
		}
	}
}
