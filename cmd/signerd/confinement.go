package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/confine"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/server"
)

// load reads the configuration, and hides the process' memory before anything else is read, unless the configuration says otherwise.
func load(configFile string) (*config.Config, error) {
	c, err := readConfig(configFile)
	if err != nil {
		return nil, explain(err)
	}
	return c, hideMemory(c)
}

// readConfig refuses a file that others can change: it says who may do what, and where everything is.
func readConfig(configFile string) (*config.Config, error) {
	if err := ownAlone(configFile); err != nil {
		return nil, fmt.Errorf("the configuration %w", err)
	}
	return config.Load(configFile, server.Always())
}

func hideMemory(c *config.Config) error {
	if c.Confinement == config.ConfineOff {
		return nil
	}
	if err := confine.HideMemory(); err != nil {
		return fmt.Errorf("confinement: %w", err)
	}
	return nil
}

// shutIn opens the root keys, and then no file but signerd's own can be opened any more: what a passphrase is read from is needed once. It
// does what the configuration says, for the whole process and for ever, and logs what is in force.
func shutIn(ctx context.Context, configFile string, c *config.Config, log *slog.Logger) (rootKeys, error) {
	root, err := openRootKeys(ctx, c, false)
	if err != nil {
		return rootKeys{}, explain(notYet(err))
	}
	if c.Confinement == config.ConfineOff {
		log.Warn("not confined: core dumps and debuggers can read keys, and every file of the user's can be opened", "cause", "confinement: off")
		return root, nil
	}
	abi, err := confine.Restrict(ownFiles(configFile, c))
	switch {
	case err == nil:
		log.Info("confined", "core_dumps", false, "dumpable", false, "landlock_abi", abi)
	case c.Confinement == config.ConfineBestEffort && errors.Is(err, confine.ErrNoLandlock):
		log.Warn("confined in part: every file of the user's can be opened", "core_dumps", false, "dumpable", false, "cause", err.Error())
	default:
		return rootKeys{}, fmt.Errorf("confinement: %w", err)
	}
	return root, nil
}

// ownFiles is all that a serving signerd may open. Folders stand for files that are replaced while it serves.
func ownFiles(configFile string, c *config.Config) confine.Files {
	f := confine.Files{
		Read:    append([]string(nil), systemFiles...),
		Connect: []string{"/dev", "/run/systemd/journal", "/var/run", "/run/systemd/resolve", "/run/nscd"},
		Devices: []string{"/dev/null"},
		Write:   []string{c.Audit.Dir},
		Sockets: []string{filepath.Dir(c.Socket.Path), filepath.Dir(c.AdminSocket.Path)},
	}
	if public := c.RootKey.RecoveryPublicKey; public != "" {
		f.Read = append(f.Read, confine.FolderOf(public)...)
	}
	for _, path := range []string{c.Store, c.Anchor} {
		f.Write = append(f.Write, confine.FolderOf(path)...)
	}
	named := append([]string{configFile,
		c.Noon.CAFile, c.Tracing.CAFile, c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA}, c.TLS.CRLs...)
	for _, root := range []config.RootKey{c.RootKey, c.NextRootKey.RootKey()} {
		named = append(named, root.File, root.Passphrase.Parameters, root.Transit.TokenFile, root.Transit.CAFile)
		if root.KMS.Socket != "" {
			f.Connect = append(f.Connect, filepath.Dir(root.KMS.Socket))
		}
	}
	for _, path := range named {
		if path != "" {
			f.Read = append(f.Read, confine.FolderOf(path)...)
		}
	}
	// systemd's credentials: that of a next root key may be named later.
	if dir := os.Getenv(rootkey.CredentialsDirectory); dir != "" {
		f.Read = append(f.Read, dir)
	}
	// What Go's crypto/x509 takes in place of the system's authorities.
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		f.Read = append(f.Read, filepath.SplitList(os.Getenv(name))...)
	}
	return f
}

// systemFiles hold no secrets: what resolving a host, verifying its certificate, telling the time and measuring the process need.
// Of /proc it is what is the process' own and the kernel's: a root without confinement would see there what other programs were started with.
var systemFiles = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/localtime", "/usr/share/zoneinfo",
	"/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates", "/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates", "/usr/share/pki",
	"/etc/ld.so.cache", "/lib", "/lib64", "/usr/lib", "/usr/lib64", // what cgo's resolver loads
	"/dev/urandom", "/dev/random", "/proc/self", "/proc/stat", "/proc/sys/net/core/somaxconn", "/sys/kernel/mm/transparent_hugepage", "/sys/fs/cgroup",
}
