package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/confine"
)

// confineProcess does what the configuration says, before any key is read, and logs what is in force. It holds for the whole
// process and for ever.
func confineProcess(configFile string, c *config.Config, log *slog.Logger) error {
	if c.Confinement == config.ConfineOff {
		log.Warn("not confined: core dumps and debuggers can read keys, and every file of the user's can be opened", "cause", "confinement: off")
		return nil
	}
	if err := confine.HideMemory(); err != nil {
		return fmt.Errorf("confinement: %w", err)
	}
	abi, err := confine.Restrict(ownFiles(configFile, c))
	switch {
	case err == nil:
		log.Info("confined", "core_dumps", false, "dumpable", false, "landlock_abi", abi)
		return nil
	case c.Confinement == config.ConfineRequired:
		return fmt.Errorf("confinement: %w", err)
	case errors.Is(err, confine.ErrNoLandlock):
		log.Warn("confined in part: every file of the user's can be opened", "core_dumps", false, "dumpable", false, "cause", err.Error())
		return nil
	default:
		return fmt.Errorf("confinement: %w", err)
	}
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
	// What Go's crypto/x509 takes in place of the system's authorities.
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		f.Read = append(f.Read, filepath.SplitList(os.Getenv(name))...)
	}
	return f
}

// systemFiles hold no secrets: what resolving a host, verifying its certificate, telling the time and measuring the process need.
// Of /proc, Landlock itself keeps what belongs to processes outside.
var systemFiles = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/localtime", "/usr/share/zoneinfo",
	"/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates", "/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates", "/usr/share/pki",
	"/etc/ld.so.cache", "/lib", "/lib64", "/usr/lib", "/usr/lib64", // what cgo's resolver loads
	"/dev/urandom", "/dev/random", "/proc", "/sys/kernel/mm/transparent_hugepage", "/sys/fs/cgroup",
}
