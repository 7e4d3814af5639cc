package cli

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// endless counts what is read from it.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	e.read += len(b)
	return copy(b, bytes.Repeat([]byte("x"), len(b))), nil
}

func TestInputsHaveLimits(t *testing.T) {
	f := serve(t, noahAnswer("apikey_sandbox_k"))
	for _, tt := range []struct {
		name  string
		args  []string
		limit int
		want  string
	}{
		{"secret", []string{"key", "activate", "orders", "--version", "1", "--api-key"}, maxSecretBytes,
			"signerctl: reading --api-key: it has more than 64 KiB\nhint: --api-key wants the name of a file, or - for standard input\n"},
		{"body", []string{"sign", "noah", "orders", "POST", "/", "--body"}, maxBodyBytes,
			"signerctl: reading --body: it has more than 65536 KiB\nhint: --body wants the name of a file, or - for standard input\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.run(t, "", append(tt.args, writeFile(t, strings.Repeat("x", tt.limit+1)))...).want(t, 1, "", tt.want)
			in, stderr := &endless{}, new(strings.Builder)
			code := Main(t.Context(), append([]string{"--address", f.address}, append(tt.args, "-")...), in, io.Discard, stderr)
			result{code: code, stderr: stderr.String()}.want(t, 1, "", tt.want)
			if in.read > 2*tt.limit {
				t.Errorf("read %d bytes of a standard input without end", in.read)
			}
		})
	}
	f.wantRequests(t)
}

func TestInputsAtTheLimit(t *testing.T) {
	f := serve(t, answers{
		"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: ordersKey()}),
		"SignNoahRequest":    noahAnswer("apikey_sandbox_k")["SignNoahRequest"],
	})
	if r := f.run(t, strings.Repeat("x", maxSecretBytes), "key", "activate", "orders", "--version", "1", "--api-key", "-"); r.code != 0 {
		t.Error(r.stderr)
	}
	if r := f.run(t, strings.Repeat("x", maxBodyBytes), "sign", "noah", "orders", "POST", "/", "--body", "-"); r.code != 0 {
		t.Error(r.stderr)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	f := serve(t, nil)
	dir := t.TempDir()
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "no such file or directory\nhint: --api-key wants the name of a file, or - for standard input\n"},
		{dir, "is a directory\nhint: --api-key wants the name of a file, or - for standard input\n"},
		{writeFile(t, ""), "it is empty\n"},
		{"-", "it is empty\n"},
	} {
		f.run(t, "", "key", "activate", "orders", "--version", "1", "--api-key", tt.path).want(t, 1, "", "signerctl: reading --api-key: "+tt.want)
	}
	f.wantRequests(t)
}
