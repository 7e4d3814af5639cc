// Package config reads signerd's configuration file: strict YAML, in which an unknown, doubled or malformed key is an
// error that names file and line.
//
// It is for cmd/signerd. It looks at no other file: whether what it names exists is for `signerd check` and for start.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream/noon"
)

// maxFileBytes bounds a configuration file.
const maxFileBytes = 1 << 20

// Config is a checked configuration. Relative paths are relative to the folder of the file.
type Config struct {
	// Store is the file of sealed keys; `signerd init` makes it. Required.
	Store string `yaml:"store"`
	// Anchor is a small file that shows when the store was replaced by an older copy. Keep it on another disk or in
	// another backup set than the store. Required.
	Anchor string `yaml:"anchor"`
	// RootKey opens the store. Required.
	RootKey RootKey `yaml:"root_key"`
	// NextRootKey is what RotateRootKey takes into use, and may open the store already. Default: none.
	NextRootKey NextRootKey `yaml:"next_root_key"`
	// Socket is where applications call. Required.
	Socket Socket `yaml:"socket"`
	// AdminSocket is where operators call; it serves everything. Required, and not the same as Socket.
	AdminSocket Socket `yaml:"admin_socket"`
	// TLS is where applications on other hosts call. Default: nowhere.
	TLS TLS `yaml:"tls"`
	// Administrators may always read, set, test and explain the policy and ask for the status, whatever the policy says; for
	// everything else they need a rule like anybody. Written as callers in rules. The services of operators are
	// on Unix sockets only, and so administrators are unix:uid=N.
	// Default: none, and then nobody can set a first policy.
	Administrators []string `yaml:"administrators"`
	// SandboxOnly are callers that no rule can give a prod key, written as callers in rules. Default: none.
	SandboxOnly []string `yaml:"sandbox_only"`
	// Noon says how signerd talks to the Noon partner gateway.
	Noon Noon `yaml:"noon"`
	// Audit says where and how calls are recorded. Required.
	Audit Audit `yaml:"audit"`
	// Metrics says where Prometheus may scrape. Default: nowhere.
	Metrics Metrics `yaml:"metrics"`
	// Tracing says where OpenTelemetry traces go. Default: nowhere.
	Tracing Tracing `yaml:"tracing"`
	// Reflection lets callers with an identity ask which services and messages there are, as grpcurl does. Default: false.
	Reflection bool `yaml:"reflection"`
	// Limits bound requests.
	Limits Limits `yaml:"limits"`
	// ShutdownTimeout is how long requests under way may take after SIGTERM; a duration such as 30s, from 1s to 10m.
	// Default: 30s.
	ShutdownTimeout Duration `yaml:"shutdown_timeout"`
	// LogLevel is debug, info, warn or error. Default: info. At debug there is a line for every call, otherwise only for
	// those that signerd or a partner failed.
	LogLevel string `yaml:"log_level"`
	// Confinement is best-effort, required or off: whether a serving signerd keeps its memory from others and itself from files
	// that are not its own, and whether it serves where the kernel has no Landlock. Default: best-effort.
	Confinement Confinement `yaml:"confinement"`

	bounds *policy.Bounds
}

// Socket is a Unix socket.
type Socket struct {
	// Path is where the socket is made; at most 107 bytes once absolute. Required.
	Path string `yaml:"path"`
	// Mode is its permission bits in octal, such as "0660": who may connect. Who may do what, the policy says.
	// Default: 0660 for socket, 0600 for admin_socket.
	Mode FileMode `yaml:"mode"`
}

// Noon says how signerd talks to the Noon partner gateway.
type Noon struct {
	// BaseURLs are gateways that keys may name beside the partner's own: https://host[:port], or http:// with a literal
	// loopback address. Default: none.
	BaseURLs []string `yaml:"base_urls"`
	// SessionLife caps how long a session is used: 1m to 720h. Default: 22h.
	SessionLife Duration `yaml:"session_life"`
	// Timeout bounds one exchange with the gateway: 1s to 2m. Default: 15s.
	Timeout Duration `yaml:"timeout"`
	// ProxyFromEnvironment lets logins go through the proxy that HTTPS_PROXY names. Default: false.
	ProxyFromEnvironment bool `yaml:"proxy_from_environment"`
	// CAFile holds the authorities, PEM, that gateways' certificates come from. Default: the system's.
	CAFile string `yaml:"ca_file"`
}

// Metrics says where Prometheus may scrape.
type Metrics struct {
	// Address is a literal loopback address and a port, such as 127.0.0.1:9464; /metrics is served there over plain
	// http, to everyone on the host. Default: none, and no metrics are served.
	Address string `yaml:"address"`
}

// Tracing says where OpenTelemetry traces go.
type Tracing struct {
	// Endpoint is a collector that speaks OTLP over gRPC: https://HOST:PORT, or http:// with a literal loopback address and a port.
	// Default: none, and nothing is traced.
	Endpoint string `yaml:"endpoint"`
	// SampleRatio is the share of requests that are traced, 0 to 1, where the caller's own trace does not decide. Default:
	// 0.01.
	SampleRatio float64 `yaml:"sample_ratio"`
	// CAFile holds the authorities, PEM, that the collector's certificate comes from. Default: the system's.
	CAFile string `yaml:"ca_file"`
}

// Limits bound requests before they are read.
type Limits struct {
	// MaxMessageBytes bounds a request message, body included: 4096 to 67108864. Default: 4194304 (4 MiB).
	MaxMessageBytes int `yaml:"max_message_bytes"`
	// MaxConcurrentStreams bounds the requests under way on one connection: 1 to 65536. Default: 256.
	MaxConcurrentStreams uint32 `yaml:"max_concurrent_streams"`
	// MaxConcurrentCalls bounds the calls that one caller has under way, on all its connections: 1 to 1048576. Default: 1024.
	MaxConcurrentCalls int `yaml:"max_concurrent_calls"`
	// MaxRefusals is how many calls of one caller may be refused at once, each with a record of its own: 1 to 1000000. Beyond, the
	// caller's calls are refused unread, and counted in one record a minute. Default: 1000.
	MaxRefusals int `yaml:"max_refusals"`
	// RefusalsPerSecond is how many more there may be each second: 0.01 to 100000. Default: 50.
	RefusalsPerSecond float64 `yaml:"refusals_per_second"`
}

// Duration is a time.Duration that reads "30s".
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: wanted a duration such as 30s or 5m", n.Line)
	}
	*d = Duration(v)
	return nil
}

// FileMode is a mode that reads "0660", quoted or not, always octal.
type FileMode fs.FileMode

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *FileMode) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.ParseUint(n.Value, 8, 32)
	if err != nil || len(n.Value) != 4 || v > 0o777 {
		return fmt.Errorf("line %d: wanted permission bits as four octal digits, such as 0660", n.Line)
	}
	*m = FileMode(v)
	return nil
}

// FS is the mode as the os package takes it.
func (m FileMode) FS() fs.FileMode { return fs.FileMode(m) }

// Bounds are what stands around every policy.
func (c *Config) Bounds() *policy.Bounds { return c.bounds }

// Load reads a configuration file; always lists the operations that administrators may always use. Errors name file and
// line.
func Load(path string, always []policy.Operation) (*Config, error) {
	text, err := durable.ReadLimited(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := parse(text, dir, always)
	if err != nil {
		return nil, describe(path, err)
	}
	return c, nil
}

func parse(text []byte, dir string, always []policy.Operation) (*Config, error) {
	c := defaults()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one YAML document")
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	if err := refuseNulls(&tree); err != nil {
		return nil, err
	}
	c.resolve(dir)
	if err := c.check(&tree); err != nil {
		return nil, err
	}
	if err := c.compile(&tree, always); err != nil {
		return nil, err
	}
	return &c, nil
}

// refuseNulls keeps a forgotten value from being passed over in silence.
func refuseNulls(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return fmt.Errorf("line %d: a value is missing here", n.Line)
	}
	for _, child := range n.Content {
		if err := refuseNulls(child); err != nil {
			return err
		}
	}
	return nil
}

// resolve makes paths absolute, in their one spelling.
func (c *Config) resolve(dir string) {
	for _, p := range append(slices.Concat(c.TLS.paths(), c.RootKey.paths(), c.NextRootKey.paths()), &c.Store, &c.Anchor, &c.Audit.Dir, &c.Socket.Path, &c.AdminSocket.Path, &c.Noon.CAFile, &c.Tracing.CAFile) {
		switch {
		case *p == "":
		case filepath.IsAbs(*p):
			*p = filepath.Clean(*p)
		default:
			*p = filepath.Join(dir, *p)
		}
	}
}

// fieldError is a fault at a place in the file.
type fieldError struct {
	line  int
	field string
	err   error
}

func (e *fieldError) Error() string { return fmt.Sprintf("line %d: %s: %v", e.line, e.field, e.err) }

func (c *Config) check(tree *yaml.Node) error {
	fault := func(path []any, format string, args ...any) error {
		return &fieldError{line(tree, path...), name(path), fmt.Errorf(format, args...)}
	}
	for _, required := range []struct {
		path  []any
		value string
	}{
		{[]any{"store"}, c.Store}, {[]any{"anchor"}, c.Anchor},
		{[]any{"audit", "dir"}, c.Audit.Dir},
		{[]any{"socket", "path"}, c.Socket.Path}, {[]any{"admin_socket", "path"}, c.AdminSocket.Path},
	} {
		if required.value == "" {
			return fault(required.path, "it is required")
		}
	}
	switch {
	case c.Store == c.Anchor:
		return fault([]any{"anchor"}, "it is the same file as store")
	case c.Socket.Path == c.AdminSocket.Path:
		return fault([]any{"admin_socket", "path"}, "it is the same as socket.path; operators have a socket of their own")
	case c.Limits.MaxMessageBytes < 4096 || c.Limits.MaxMessageBytes > 64<<20:
		return fault([]any{"limits", "max_message_bytes"}, "it is outside 4096 to 67108864")
	case c.Limits.MaxConcurrentStreams < 1 || c.Limits.MaxConcurrentStreams > 1<<16:
		return fault([]any{"limits", "max_concurrent_streams"}, "it is outside 1 to 65536")
	case c.Limits.MaxConcurrentCalls < 1 || c.Limits.MaxConcurrentCalls > 1<<20:
		return fault([]any{"limits", "max_concurrent_calls"}, "it is outside 1 to 1048576")
	case c.Limits.MaxRefusals < 1 || c.Limits.MaxRefusals > 1_000_000:
		return fault([]any{"limits", "max_refusals"}, "it is outside 1 to 1000000")
	case !(c.Limits.RefusalsPerSecond >= 0.01 && c.Limits.RefusalsPerSecond <= 100_000): // nor is it no number
		return fault([]any{"limits", "refusals_per_second"}, "it is outside 0.01 to 100000")
	case c.Noon.SessionLife < Duration(time.Minute) || c.Noon.SessionLife > Duration(720*time.Hour):
		return fault([]any{"noon", "session_life"}, "it is outside 1m to 720h")
	case c.Noon.Timeout < Duration(time.Second) || c.Noon.Timeout > Duration(2*time.Minute):
		return fault([]any{"noon", "timeout"}, "it is outside 1s to 2m")
	case c.ShutdownTimeout < Duration(time.Second) || c.ShutdownTimeout > Duration(10*time.Minute):
		return fault([]any{"shutdown_timeout"}, "it is outside 1s to 10m")
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel):
		return fault([]any{"log_level"}, "wanted debug, info, warn or error")
	case !c.Confinement.known():
		return fault([]any{"confinement"}, "wanted best-effort, required or off")
	}
	if c.Metrics.Address != "" {
		if a, err := netip.ParseAddrPort(c.Metrics.Address); err != nil || !a.Addr().IsLoopback() {
			return fault([]any{"metrics", "address"}, "wanted a literal loopback address and a port, such as 127.0.0.1:9464")
		}
	}
	for i, base := range c.Noon.BaseURLs {
		if err := noon.CheckBaseURL(base); err != nil {
			return fault([]any{"noon", "base_urls", i}, "%w", err)
		}
	}
	if err := c.RootKey.check("root_key", tree, c.Store, c.Anchor, fault); err != nil {
		return err
	}
	if err := c.NextRootKey.check(tree, c.RootKey, c.Store, c.Anchor, fault); err != nil {
		return err
	}
	if err := c.Audit.check(fault); err != nil {
		return err
	}
	if err := c.Tracing.check(fault); err != nil {
		return err
	}
	return c.TLS.check(fault)
}

// defaults is what a file is read into: what it says replaces them, zeros included.
func defaults() Config {
	return Config{
		Socket:          Socket{Mode: 0o660},
		AdminSocket:     Socket{Mode: 0o600},
		Limits:          Limits{MaxMessageBytes: 4 << 20, MaxConcurrentStreams: 256, MaxConcurrentCalls: 1024, MaxRefusals: 1000, RefusalsPerSecond: 50},
		RootKey:         defaultRootKey(),
		NextRootKey:     defaultNextRootKey(),
		Audit:           Audit{Timeout: Duration(5 * time.Second), MaxFileBytes: 64 << 20, MaxFileAge: Duration(24 * time.Hour)},
		Noon:            Noon{SessionLife: Duration(noon.DefaultLife), Timeout: Duration(noon.DefaultTimeout)},
		Tracing:         Tracing{SampleRatio: 0.01},
		ShutdownTimeout: Duration(30 * time.Second),
		LogLevel:        "info",
		Confinement:     ConfineBestEffort,
	}
}

func (c *Config) compile(tree *yaml.Node, always []policy.Operation) error {
	var err error
	c.bounds, err = policy.NewBounds(c.Administrators, c.SandboxOnly, always)
	var fault *policy.BoundsError
	if errors.As(err, &fault) {
		path := []any{fault.Field, fault.Item}
		return &fieldError{line(tree, path...), name(path), fault.Err}
	}
	return err
}

// line finds where a value stands; for one that is missing, where the nearest thing around it does.
func line(n *yaml.Node, path ...any) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, step := range path {
		next := child(n, step)
		if next == nil {
			break
		}
		n = next
	}
	return max(n.Line, 1)
}

func child(n *yaml.Node, step any) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch step := step.(type) {
	case int:
		if n.Kind == yaml.SequenceNode && step < len(n.Content) {
			return n.Content[step]
		}
	case string:
		if n.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// name writes a path as people do: tls.crls[0].
func name(path []any) string {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// describe puts file and line before what the YAML library or our own checks found, one fault a line.
func describe(path string, err error) error {
	var messages []string
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		messages = typed.Errors
	} else {
		messages = []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	for i, m := range messages {
		rest, ok := strings.CutPrefix(m, "line ")
		number, text, colon := strings.Cut(rest, ": ")
		if !ok || !colon {
			messages[i] = path + ": " + m
			continue
		}
		text = strings.ReplaceAll(text, "not found in type config.", "is unknown in ")
		messages[i] = fmt.Sprintf("%s:%s: %s", path, number, text)
	}
	return errors.New(strings.Join(messages, "\n"))
}
