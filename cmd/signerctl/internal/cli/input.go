package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/ownfile"
	"github.com/signerd/signerd/internal/secret"
)

// What signerd can be configured to take at most, in bytes.
const (
	maxSecretBytes = 64 << 10
	maxBodyBytes   = 64 << 20
)

// file is a flag that names a file, or "-" for standard input.
type file struct{ flag, path string }

func fileVar(flags *pflag.FlagSet, f *file, name, usage string) {
	f.flag = "--" + name
	flags.Var(f, name, usage)
}

// String implements pflag.Value.
func (f *file) String() string { return f.path }

// Type implements pflag.Value.
func (*file) Type() string { return "FILE" }

// Set implements pflag.Value.
func (f *file) Set(path string) error {
	if path == "" {
		return errors.New("wanted the name of a file, or -")
	}
	f.path = path
	return nil
}

func (f *file) given() bool   { return f.path != "" }
func (f *file) isStdin() bool { return f.path == "-" }

// readFile takes pipes as well, such as the shell's <(command).
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return durable.ReadAllLimited(f, path, limit)
}

// read gives the content of a file flag; what is larger than limit is not read to its end.
func (a *app) read(f *file, limit int64) ([]byte, error) {
	var b []byte
	var err error
	if f.isStdin() {
		b, err = durable.ReadAllLimited(a.stdin, "standard input", limit)
	} else {
		b, err = readFile(f.path, limit)
	}
	if err == nil {
		return b, nil
	}
	// The name stays out: it may be the secret itself, typed where its file belongs.
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if errors.Is(err, durable.ErrTooLarge) {
		err = fmt.Errorf("it has more than %d KiB", limit>>10)
	}
	return nil, &failure{what: "reading " + f.flag, err: err, hint: f.flag + " wants the name of a file, or - for standard input"}
}

// readSecret is read for a partner's secret, which may not be shown, and is none of signerd's own files.
func (a *app) readSecret(f *file) (secret.Bytes, error) {
	b, err := a.read(f, maxSecretBytes)
	if err != nil {
		return secret.Bytes{}, err
	}
	if len(b) == 0 {
		return secret.Bytes{}, &failure{what: "reading " + f.flag, err: errors.New("it is empty")}
	}
	if kind := ownfile.Kind(b); kind != "" {
		clear(b)
		return secret.Bytes{}, &failure{what: "reading " + f.flag, err: errors.New("it holds " + kind + " of signerd's own, which is no partner's secret")}
	}
	return secret.New(b), nil
}

// text is a flag that holds words of its own, which are no secret.
type text struct{ flag, value string }

func textVar(flags *pflag.FlagSet, t *text, name, usage string) {
	t.flag = "--" + name
	flags.Var(t, name, usage)
}

// String implements pflag.Value.
func (t *text) String() string { return t.value }

// Type implements pflag.Value.
func (*text) Type() string { return "TEXT" }

// Set implements pflag.Value.
func (t *text) Set(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	t.value = s
	return nil
}

func (t *text) given() bool { return t.value != "" }

// choice is a flag with few values.
type choice struct {
	value   string
	allowed []string
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("wanted %s", strings.Join(c.allowed, " or "))
	}
	c.value = s
	return nil
}

// parseLabels reads K=V arguments.
func parseLabels(args []string) (map[string]string, error) {
	labels := make(map[string]string, len(args))
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, &usageError{message: fmt.Sprintf("the label %q is not of the form K=V", arg)}
		}
		if _, ok := labels[name]; ok {
			return nil, &usageError{message: fmt.Sprintf("the label %q is given twice", name)}
		}
		labels[name] = value
	}
	return labels, checkText(args)
}
