package process

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/scripttest"
	"github.com/signerd/signerd/internal/transittest"
)

// elsewhere is what has the root key in place of signerd's own files.
type elsewhere struct {
	// rootKey is what the configuration says, prepare makes the files that it names.
	rootKey string
	prepare func(s *signerd)
	// away has it go away, back come back, and rotate has it make a new key of its own.
	away, back, rotate func()
	// says is what signerd says of it while it is away.
	says string
}

// plugins is a KMS plugin, a process.
func plugins(t *testing.T) elsewhere {
	dir, err := os.MkdirTemp("", "kms")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "kms.sock")
	rotate := func() { must(t, exec.CommandContext(t.Context(), plugin, "--keys", dir, "--rotate").Run()) }
	rotate()
	var cmd *exec.Cmd
	away := func() {
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			cmd = nil
		}
	}
	back := func() {
		cmd = exec.Command(plugin, "--keys", dir, "--socket", socket)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		must(t, err)
	}
	t.Cleanup(away)
	back()
	return elsewhere{rootKey: fmt.Sprintf("{kms: {socket: %q}}", socket), prepare: func(*signerd) {}, away: away, back: back, rotate: rotate, says: "the KMS plugin is not there"}
}

// transits is a transit engine over TLS.
func transits(t *testing.T) elsewhere {
	engine := transittest.Start(t)
	return elsewhere{rootKey: transitKey(engine), prepare: func(s *signerd) { writeTransitFiles(t, s, engine) },
		away: engine.Stop, back: func() { engine.Resume(t) }, rotate: engine.Rotate, says: "cannot be asked"}
}

// transitKey is what the configuration says of an engine; writeTransitFiles makes the files that it names.
func transitKey(engine *transittest.Engine) string {
	return fmt.Sprintf("{transit: {address: %q, mount: %s, key: %s, token_file: ../other/token, ca_file: ../tls/vault.pem}}", engine.URL(), transittest.Mount, transittest.Key)
}

func writeTransitFiles(t *testing.T, s *signerd, engine *transittest.Engine) {
	t.Helper()
	certtest.Replace(t, s.path("other/token"), []byte(transittest.Token+"\n"))
	certtest.Replace(t, s.path("tls/vault.pem"), engine.CA())
}

// confinement is the most that this kernel can be asked for.
func confinement() string {
	if hasLandlock() {
		return "confinement: required\n"
	}
	return "confinement: best-effort\n"
}

func TestAConfinedSignerdWhoseRootKeyIsElsewhere(t *testing.T) {
	for name, open := range map[string]func(*testing.T) elsewhere{"KMS": plugins, "transit": transits} {
		t.Run(name, func(t *testing.T) {
			provider := open(t)
			s := install(t, provider.rootKey, "audit: {dir: ../log}\n"+confinement(), provider.prepare)
			provider.away()
			s.begin(t)
			s.waits(t, provider.says)
			provider.back()
			must(t, scripttest.WaitServing(s.path("run/admin.sock")))
			s.allowEverything(t)
			s.importKey(t, "vector", "noba", vectorMaterial())

			provider.away()
			s.signsTheVector(t)
			s.importKey(t, "meanwhile", "noba", map[string][]byte{"api_key": []byte(rand.Text()), "secret": []byte(rand.Text())})
			if err := s.rotate(t); err == nil {
				t.Error("the root key is rotated while it is away")
			}
			s.signsTheVector(t)

			provider.rotate()
			provider.back()
			before := s.status(t)
			s.whileSigning(t, func() { must(t, s.rotate(t)) })
			if after := s.status(t); after.GetStoreCounter() <= before.GetStoreCounter() || after.GetKeyCount() != 2 {
				t.Errorf("before the rotation %v, after it %v", before, after)
			}
			if rest := s.stop(t); strings.Contains(rest, "permission denied") {
				t.Errorf("something was denied:\n%s", rest)
			}
			s.launch(t)
			s.signsTheVector(t)
			s.verify(t.Context(), t)
			s.stop(t)
		})
	}
}

// waits checks that signerd is up, serves nothing, says why, and asks for its root key less and less often.
func (s *signerd) waits(t *testing.T, why string) {
	t.Helper()
	for _, pause := range []string{"1s", "2s"} {
		if line := s.logged(t, "the keys cannot be loaded yet"); !strings.Contains(line, `"again_in":"`+pause+`"`) || !strings.Contains(line, why) {
			t.Errorf("it logs %s", line)
		}
	}
	health, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if must(t, err); health.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("its health is %v", health)
	}
	if got := s.status(t); got.GetServing() || !strings.Contains(got.GetReason(), why) {
		t.Errorf("its status is %v", got)
	}
	if _, err := s.sign(t.Context()); status.Code(err) != codes.Unavailable {
		t.Errorf("a signature is refused with %v", err)
	}
}

func (s *signerd) status(t *testing.T) *adminv1.GetStatusResponse {
	t.Helper()
	got, err := adminv1.NewSystemServiceClient(s.conn).GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	must(t, err)
	return got
}

// rotate has signerd seal everything anew.
func (s *signerd) rotate(t *testing.T) error {
	t.Helper()
	stream, err := adminv1.NewSystemServiceClient(s.conn).RotateRootKey(t.Context(), &adminv1.RotateRootKeyRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// whileSigning does something while others sign, and all of them must succeed.
func (s *signerd) whileSigning(t *testing.T, do func()) {
	t.Helper()
	ending, end := context.WithCancel(t.Context())
	var signing sync.WaitGroup
	for range 4 {
		signing.Go(func() {
			for ending.Err() == nil {
				if got, err := s.sign(t.Context()); err != nil || got != vectorSignature {
					t.Errorf("it signs %q (%v)", got, err)
					return
				}
			}
		})
	}
	do()
	end()
	signing.Wait()
}

// A vector as openssl makes it; its secret is long enough for FIPS 140-3.
const vectorSignature = "aae56b6f584ddee7bc8219861ac3e144e215508d52dad8bb6d924bfa15d6840a"

func vectorMaterial() map[string][]byte {
	return map[string][]byte{"api_key": []byte("test-key"), "secret": []byte("a-long-test-secret")}
}

func (s *signerd) sign(ctx context.Context) (string, error) {
	zero := int64(0)
	out, err := signerdv1.NewSignerServiceClient(s.conn).ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{
		Key: "vector", Method: "GET", Path: "/v1/countries/US", TimestampMillis: &zero})
	return out.GetHeaders()["X-Noba-Signature"], err
}

func (s *signerd) signsTheVector(t *testing.T) {
	t.Helper()
	if got, err := s.sign(t.Context()); err != nil || got != vectorSignature {
		t.Errorf("it signs %q (%v)", got, err)
	}
}
