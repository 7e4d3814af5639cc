package process

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/internal/scripttest"
	"github.com/signerd/signerd/internal/transittest"
)

func TestAConfinedSignerdTakesATokenThatAnAgentRenews(t *testing.T) {
	engine := transittest.Start(t)
	s := install(t, transitKey(engine), "audit: {dir: ../log}\n"+confinement(), func(s *signerd) { writeTransitFiles(t, s, engine) })
	certtest.Replace(t, s.path("other/token"), []byte("hvs.expired\n"))
	s.begin(t)
	s.waits(t, "the token is not valid")
	certtest.Replace(t, s.path("other/token"), []byte(transittest.Token+"\n"))
	must(t, scripttest.WaitServing(s.path("run/admin.sock")))
	if rest := s.stop(t); strings.Contains(rest, transittest.Token) || strings.Contains(rest, "hvs.expired") {
		t.Error("a token is in the log")
	}
}

func TestAConfinedSignerdReadsARecoveryKeyInAFolderOfItsOwn(t *testing.T) {
	if !hasHPKE() {
		t.Log("the cryptographic module in force has no recovery keys")
		return
	}
	s := install(t, "{file: root.key, recovery_public_key: ../other/recovery.pub}", "audit: {dir: ../log}\n"+confinement(), func(s *signerd) {
		must(t, recovery.Create(s.path("etc/recovery.key"), s.path("other/recovery.pub")))
	})
	s.launch(t)
	s.stop(t)
}

func TestAConfinedSignerdCopiesItsRecordsToASyslogThatRestarts(t *testing.T) {
	if os.Geteuid() != 0 || exec.CommandContext(t.Context(), "unshare", "--mount", "true").Run() != nil {
		t.Log("only root, where it may, can give signerd a syslog of the test's own")
		return
	}
	s := install(t, keyFile, "audit: {dir: ../log, copy: syslog}\n"+confinement(), nil)
	dev := s.path("other")
	s.wrap = []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /dev && exec "$@"`, dev}
	syslog, lines := listenAsSyslog(t, dev)
	s.launch(t)
	s.allowEverything(t)
	s.importKey(t, "vector", "noba", vectorMaterial())
	for !strings.Contains(<-lines, `ComputeNobaSignature`) {
		s.signsTheVector(t)
	}
	must(t, syslog.Close())
	must(t, os.RemoveAll(filepath.Join(dev, "log")))
	s.signsTheVector(t)
	_, lines = listenAsSyslog(t, dev)
	for len(lines) == 0 && !t.Failed() { // signing goes on meanwhile
		s.signsTheVector(t)
	}
	if rest := s.stop(t); strings.Contains(rest, "permission denied") {
		t.Errorf("something was denied:\n%s", rest)
	}
}

// listenAsSyslog gives the lines that arrive where syslog listens below a folder in place of /dev.
func listenAsSyslog(t *testing.T, dev string) (*net.UnixConn, <-chan string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dev, "log"), Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	lines := make(chan string, 100_000)
	go func() {
		defer close(lines)
		for buffer := make([]byte, 64<<10); ; {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			lines <- string(buffer[:n])
		}
	}()
	return conn, lines
}
