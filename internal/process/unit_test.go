package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/server"
)

const unit = "../../docs/systemd/signerd.service"

// directives are what the unit sets, by name, in order.
func directives(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(unit)
	must(t, err)
	out := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			out[name] = append(out[name], value)
		}
	}
	return out
}

func TestTheUnitKeepsSignerdIn(t *testing.T) {
	got := directives(t)
	for name, want := range map[string]string{
		"User": "signerd", "PrivateUsers": "no", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "UMask": "0077",
		"ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "PrivateMounts": "yes", "ProtectProc": "invisible",
		"MemoryDenyWriteExecute": "yes", "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6", "RestrictNamespaces": "yes", "RestrictRealtime": "yes",
		"RestrictSUIDSGID": "yes", "LockPersonality": "yes", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes",
		"ProtectControlGroups": "yes", "ProtectClock": "yes", "ProtectHostname": "yes", "SystemCallArchitectures": "native", "LimitCORE": "0",
		"MemorySwapMax": "0", "StateDirectoryMode": "0700",
	} {
		if !slices.Equal(got[name], []string{want}) {
			t.Errorf("%s is %q, want %q once", name, got[name], want)
		}
	}
	if got["DynamicUser"] != nil {
		t.Error("DynamicUser is set: the policy names uids")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("there is no systemd-analyze here: only the directives were compared; `make check-unit` measures them")
		return
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

func TestTheUnitAndItsConfigurationAgree(t *testing.T) {
	c, err := config.Load("../../docs/systemd/signerd.yaml", server.Always())
	must(t, err)
	got := directives(t)
	credential, _, _ := strings.Cut(got["LoadCredential"][0], ":")
	if want := filepath.Join("/run/credentials/signerd.service", credential); c.RootKey.File != want {
		t.Errorf("the root key is %s, and the unit makes %s", c.RootKey.File, want)
	}
	for path, made := range map[string]struct{ directive, root string }{
		c.Store: {"StateDirectory", "/var/lib"}, c.Anchor: {"StateDirectory", "/var/lib"}, c.Audit.Dir: {"StateDirectory", "/var/lib"},
		c.Socket.Path: {"RuntimeDirectory", "/run"}, c.AdminSocket.Path: {"RuntimeDirectory", "/run"},
	} {
		if !slices.ContainsFunc(strings.Fields(got[made.directive][0]), func(name string) bool { return filepath.Dir(path) == filepath.Join(made.root, name) }) {
			t.Errorf("%s is in no folder of %s", path, made.directive)
		}
	}
	if filepath.Dir(c.Anchor) == filepath.Dir(c.Store) {
		t.Error("store and anchor are in one folder")
	}
	if c.Confinement != config.ConfineRequired {
		t.Errorf("confinement is %s", c.Confinement)
	}
}
