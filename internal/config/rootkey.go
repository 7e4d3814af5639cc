package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signerd/signerd/internal/rootkey"
)

// RootKey says where the root key is. Exactly one provider is named.
type RootKey struct {
	// File is a root key file as `signerd init` makes it, mode 0400 or 0600 (any, in systemd's $CREDENTIALS_DIRECTORY).
	File string `yaml:"file"`
	// Passphrase makes the root key from a passphrase.
	Passphrase Passphrase `yaml:"passphrase"`
	// KMS asks a plugin that speaks the Kubernetes KMS v2 protocol.
	KMS KMS `yaml:"kms"`
	// Transit asks a Vault or an OpenBao.
	Transit Transit `yaml:"transit"`
	// RecoveryPublicKey is the file of a recovery key's public half, as `signerd recovery-key new` makes it: the keyring is wrapped to
	// it as well. Default: none, and a wrapping that is there is removed.
	RecoveryPublicKey string `yaml:"recovery_public_key"`
}

// NextRootKey is a root key to come: one provider as under RootKey, or none. Default: none, and then only the data key is new after
// a rotation.
type NextRootKey struct {
	// File is a root key file as `signerd root-key FILE` makes it, with the modes of RootKey.File.
	File string `yaml:"file"`
	// Passphrase makes the root key from a passphrase, with parameters as `signerd root-key --passphrase FILE` makes them. FD and
	// Terminal are asked at start alone.
	Passphrase Passphrase `yaml:"passphrase"`
	// KMS asks a plugin that speaks the Kubernetes KMS v2 protocol.
	KMS KMS `yaml:"kms"`
	// Transit asks a Vault or an OpenBao.
	Transit Transit `yaml:"transit"`
}

// RootKey is the root key to come as it stands once it is in use.
func (n NextRootKey) RootKey() RootKey {
	return RootKey{File: n.File, Passphrase: n.Passphrase, KMS: n.KMS, Transit: n.Transit}
}

func (n *NextRootKey) paths() []*string {
	return []*string{&n.File, &n.Passphrase.Parameters, &n.KMS.Socket, &n.Transit.TokenFile, &n.Transit.CAFile}
}

// check is asked after the root key's own.
func (n NextRootKey) check(tree *yaml.Node, current RootKey, store, anchor string, fault func(path []any, format string, args ...any) error) error {
	const section = "next_root_key"
	if find(tree, section) == nil {
		return nil
	}
	next := n.RootKey()
	if err := next.check(section, tree, store, anchor, fault); err != nil {
		return err
	}
	made := next.MadeByInit()
	if made != "" && made == current.MadeByInit() {
		return fault(next.madeAt(section), "it is the same file as root_key's")
	}
	if n.Passphrase.FD != NoFD && n.Passphrase.FD == current.Passphrase.FD {
		return fault([]any{section, "passphrase", "fd"}, "it is the same as root_key's, which is read to its end")
	}
	return nil
}

// Passphrase says where a passphrase comes from. Exactly one of Credential, FD and Terminal is set.
type Passphrase struct {
	// Parameters is a file of salt and rounds as `signerd init` makes it. Required.
	Parameters string `yaml:"parameters"`
	// Credential is the name of a file in systemd's $CREDENTIALS_DIRECTORY.
	Credential string `yaml:"credential"`
	// FD is a file descriptor that is read to its end at start: 0, or 3 to 1023. Default: NoFD.
	FD int `yaml:"fd"`
	// Terminal asks at the terminal that signerd is started from. Default: false.
	Terminal bool `yaml:"terminal"`
}

// NoFD is no file descriptor.
const NoFD = -1

// KMS is a plugin that speaks the Kubernetes KMS v2 protocol.
type KMS struct {
	// Socket is the plugin's Unix socket; at most 107 bytes once absolute. Required.
	Socket string `yaml:"socket"`
	// Timeout bounds each request: 100ms to 1m. Default: 10s.
	Timeout Duration `yaml:"timeout"`
}

// Transit is a key in the transit engine of Vault or OpenBao.
type Transit struct {
	// Address is https://HOST[:PORT]. Required.
	Address string `yaml:"address"`
	// Namespace is where the engine is mounted (Vault Enterprise, OpenBao); at most 40 bytes. Default: the root namespace.
	Namespace string `yaml:"namespace"`
	// Mount is the path of the engine. Default: transit.
	Mount string `yaml:"mount"`
	// Key is the name of the key. Required.
	Key string `yaml:"key"`
	// TokenFile holds a token; nobody but its owner may write it, and nobody but its owner and group may read it. Required.
	TokenFile string `yaml:"token_file"`
	// CAFile holds the authorities, PEM, that the server's certificate comes from. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// Timeout bounds each request: 100ms to 1m. Default: 10s.
	Timeout Duration `yaml:"timeout"`
}

func defaultNextRootKey() NextRootKey {
	r := defaultRootKey()
	return NextRootKey{Passphrase: r.Passphrase, KMS: r.KMS, Transit: r.Transit}
}

func defaultRootKey() RootKey {
	const timeout = Duration(10 * time.Second)
	return RootKey{Passphrase: Passphrase{FD: NoFD}, KMS: KMS{Timeout: timeout}, Transit: Transit{Mount: "transit", Timeout: timeout}}
}

// MadeByInit is the file that `signerd init` makes for the provider, empty if it makes none.
func (r RootKey) MadeByInit() string {
	if r.File != "" {
		return r.File
	}
	return r.Passphrase.Parameters
}

func (r *RootKey) paths() []*string {
	return []*string{&r.File, &r.Passphrase.Parameters, &r.KMS.Socket, &r.Transit.TokenFile, &r.Transit.CAFile, &r.RecoveryPublicKey}
}

// maxSocketPath is what fits into the kernel's address of a Unix socket.
const maxSocketPath = 107

// madeAt is where the section names the file of MadeByInit.
func (r RootKey) madeAt(section string) []any {
	if r.File != "" {
		return []any{section, "file"}
	}
	return []any{section, "passphrase", "parameters"}
}

func (r RootKey) check(section string, tree *yaml.Node, store, anchor string, fault func(path []any, format string, args ...any) error) error {
	providers := []string{"file", "passphrase", "kms", "transit"}
	var named []string
	for _, p := range providers {
		if find(tree, section, p) != nil {
			named = append(named, p)
		}
	}
	if len(named) != 1 {
		return fault([]any{section}, "name one provider of %s; it has %d", strings.Join(providers, ", "), len(named))
	}
	at := func(steps ...any) []any { return append([]any{section}, steps...) }
	var err error
	switch named[0] {
	case "file":
		if r.File == "" {
			err = fault(at("file"), "it is required")
		}
	case "passphrase":
		err = r.Passphrase.check(at, find(tree, section, "passphrase", "fd") != nil, fault)
	case "kms":
		err = r.KMS.check(at, fault)
	case "transit":
		err = r.Transit.check(at, fault)
	}
	if made := r.MadeByInit(); err == nil && (made == store || made == anchor) {
		err = fault(r.madeAt(section), "it is the same file as store or anchor")
	}
	return err
}

func (p Passphrase) check(at func(...any) []any, hasFD bool, fault func(path []any, format string, args ...any) error) error {
	sources := 0
	for _, set := range []bool{p.Credential != "", hasFD, p.Terminal} {
		if set {
			sources++
		}
	}
	switch {
	case p.Parameters == "":
		return fault(at("passphrase", "parameters"), "it is required")
	case sources != 1:
		return fault(at("passphrase"), "name one source of credential, fd and terminal; it has %d", sources)
	case strings.ContainsAny(p.Credential, "/\x00") || p.Credential == "." || p.Credential == "..":
		return fault(at("passphrase", "credential"), "wanted the name of a systemd credential, which has no slash")
	case p.FD < NoFD || p.FD == 1 || p.FD == 2 || p.FD > 1023 || p.FD == NoFD && p.Credential == "" && !p.Terminal:
		return fault(at("passphrase", "fd"), "wanted 0, or 3 to 1023")
	}
	return nil
}

func (k KMS) check(at func(...any) []any, fault func(path []any, format string, args ...any) error) error {
	switch {
	case k.Socket == "":
		return fault(at("kms", "socket"), "it is required")
	case len(k.Socket) > maxSocketPath:
		return fault(at("kms", "socket"), "the path has %d bytes; a Unix socket's has at most %d", len(k.Socket), maxSocketPath)
	}
	return checkTimeout(k.Timeout, at("kms", "timeout"), fault)
}

func (t Transit) check(at func(...any) []any, fault func(path []any, format string, args ...any) error) error {
	for _, required := range []struct{ name, value string }{{"address", t.Address}, {"mount", t.Mount}, {"key", t.Key}, {"token_file", t.TokenFile}} {
		if required.value == "" {
			return fault(at("transit", required.name), "it is required")
		}
	}
	if t.Namespace != "" {
		if err := rootkey.CheckTransitName(t.Namespace); err != nil {
			return fault(at("transit", "namespace"), "%w", err)
		}
		if n := len(t.Namespace); n > rootkey.MaxTransitNamespace {
			return fault(at("transit", "namespace"), "it has %d bytes, more than %d", n, rootkey.MaxTransitNamespace)
		}
	}
	var keyFault error
	if keyFault = rootkey.CheckTransitName(t.Key); keyFault == nil && strings.Contains(t.Key, "/") {
		keyFault = fmt.Errorf("a key's name has no slash")
	}
	for _, checked := range []struct {
		name string
		err  error
	}{{"address", rootkey.CheckTransitAddress(t.Address)}, {"mount", rootkey.CheckTransitName(t.Mount)}, {"key", keyFault}} {
		if checked.err != nil {
			return fault(at("transit", checked.name), "%w", checked.err)
		}
	}
	return checkTimeout(t.Timeout, at("transit", "timeout"), fault)
}

func checkTimeout(d Duration, path []any, fault func(path []any, format string, args ...any) error) error {
	if d < Duration(100*time.Millisecond) || d > Duration(time.Minute) {
		return fault(slices.Clone(path), "it is outside 100ms to 1m")
	}
	return nil
}

// find is the value at a path, nil if the file has none.
func find(n *yaml.Node, path ...any) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, step := range path {
		if n = child(n, step); n == nil {
			return nil
		}
	}
	return n
}
