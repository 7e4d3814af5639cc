package bolt_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// The test kills a process that changes a keystore, at random moments, and looks what became of what it acknowledged.
var crashRounds = flag.Int("crash.rounds", 200, "how often TestNothingAcknowledgedIsLostWhenTheProcessIsKilled kills")

// victimFolder is the environment variable that makes the test binary the process to be killed. It names the folder of
// the store.
const victimFolder = "SIGNERD_TEST_CRASH_FOLDER"

// roundsPerStore is after how many kills a new store is begun, so that Create and Init are interrupted too.
const roundsPerStore = 10

func TestMain(m *testing.M) {
	if name := os.Getenv(operationVariable); name != "" {
		if err := beOperation(os.Getenv(victimFolder), name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(victimFolder); dir != "" {
		fmt.Fprintln(os.Stderr, beVictim(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// configure describes the keystore in a folder, but for its store. The root key is there already.
func configure(dir string) (keystore.Config, error) {
	root, err := rootkey.OpenFile(filepath.Join(dir, "root.key"))
	return keystore.Config{
		Anchor:  audit.NewAnchorFile(filepath.Join(dir, "anchor")),
		RootKey: root,
		Schemes: []upstream.Scheme{noah.Scheme{}, noba.Scheme{}},
		Compile: func([]byte) (*policy.Policy, error) { return &policy.Policy{}, nil },
	}, err
}

func storePath(dir string) string { return filepath.Join(dir, "store.db") }

// beVictim makes the store, if there is none, and changes it for as long as it lives. Each change that was acknowledged
// it tells on standard output: "version NAME NUMBER FINGERPRINT", or "active NAME NUMBER".
func beVictim(dir string) error {
	fmt.Println("started")
	c, err := configure(dir)
	if err != nil {
		return err
	}
	if err := bolt.Create(storePath(dir)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fmt.Println("created")
	s, err := bolt.Open(storePath(dir))
	if err != nil {
		return err
	}
	c.Store = s
	ctx := context.Background()
	if err := keystore.Init(ctx, c); err != nil && !errors.Is(err, keystore.ErrInitialized) {
		return err
	}
	k, err := keystore.Open(ctx, c)
	if err != nil {
		return err
	}
	for i := k.Stats().Keys; ; i++ {
		if err := liveOn(ctx, k, s, i); err != nil {
			return err
		}
	}
}

// liveOn makes the key of that number, rotates it, activates the new version, and compacts the store.
func liveOn(ctx context.Context, k *keystore.Keystore, s keystore.Store, i int) error {
	name, scheme := fmt.Sprintf("key-%d", i), noba.Name
	if i%2 == 1 {
		scheme = noah.Name
	}
	key, _, err := k.Import(ctx, "", keystore.NewKey{Name: name, Scheme: scheme, Environment: upstream.Prod}, newMaterial(scheme))
	if err != nil {
		return err
	}
	v, _ := key.Version(1)
	fmt.Printf("version %s 1 %x\nactive %s 1\n", name, v.Fingerprint, name)
	key, number, _, err := k.ImportVersion(ctx, "", name, keystore.Precondition(key.Generation), newMaterial(scheme), time.Time{})
	if err != nil {
		return err
	}
	v, _ = key.Version(number)
	fmt.Printf("version %s %d %x\n", name, number, v.Fingerprint)
	if _, _, err := k.Activate(ctx, name, number, 0, nil, time.Time{}); err != nil {
		return err
	}
	// Killed in here as well, nothing is lost.
	if err := s.Compact(ctx); err != nil {
		return err
	}
	fmt.Printf("active %s %d\n", name, number)
	return nil
}

func newMaterial(scheme string) upstream.Material {
	if scheme == noba.Name {
		return upstream.Material{upstream.PartAPIKey: secret.New([]byte(rand.Text())), upstream.PartSecret: secret.New([]byte(rand.Text()))}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return upstream.Material{upstream.PartAPIKey: secret.New([]byte("pk_prod_" + rand.Text())), upstream.PartPrivateKey: secret.New(text)}
}

// promises are what the killed processes of one store acknowledged.
type promises struct {
	versions map[version]string // fingerprints
	active   map[string]uint32
}

type version struct {
	name   string
	number uint32
}

func (p *promises) take(t *testing.T, line string) {
	t.Helper()
	var v version
	var fingerprint string
	if _, err := fmt.Sscanf(line, "version %s %d %s", &v.name, &v.number, &fingerprint); err == nil {
		p.versions[v] = fingerprint
	} else if _, err := fmt.Sscanf(line, "active %s %d", &v.name, &v.number); err == nil {
		p.active[v.name] = v.number
	} else if line != "started" && line != "created" {
		t.Fatalf("the process says %q", line)
	}
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	stores := (*crashRounds + roundsPerStore - 1) / roundsPerStore
	for i := range stores {
		t.Run(fmt.Sprintf("store %d", i), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := rootkey.CreateFile(filepath.Join(dir, "root.key")); err != nil {
				t.Fatal(err)
			}
			p := &promises{make(map[version]string), make(map[string]uint32)}
			for round := range roundsPerStore {
				lines := mathrand.IntN(16)
				if round == 0 {
					lines = 1 + mathrand.IntN(2) // it makes the store, or Init does
				}
				killOne(t, dir, p, lines)
				p.check(t, dir)
			}
			if len(p.versions) == 0 {
				t.Error("no process acknowledged anything before it was killed")
			}
		})
	}
}

// killOne starts a process on the folder's store, reads that many lines of it, waits for a moment, and kills it.
func killOne(t *testing.T, dir string, p *promises, lines int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), victimFolder+"="+dir)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(output)
	for range lines {
		line, err := r.ReadString('\n')
		if err != nil {
			break // it ended by itself, as Wait will tell
		}
		p.take(t, strings.TrimSuffix(line, "\n"))
	}
	for range mathrand.IntN(1 << mathrand.IntN(16)) {
		runtime.Gosched()
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	// What it said before it was killed, it acknowledged. A line without an end it did not finish.
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	said := strings.Split(string(rest), "\n")
	for _, line := range said[:len(said)-1] {
		p.take(t, line)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the process ended by itself: %v: %s", err, complaint.String())
	}
}

// check opens the store after a kill, and holds it against all that was ever acknowledged.
func (p *promises) check(t *testing.T, dir string) {
	t.Helper()
	c, err := configure(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(storePath(dir))
	if errors.Is(err, fs.ErrNotExist) && len(p.versions) == 0 {
		return
	}
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	defer closeStore(t, s)
	c.Store = s
	k, err := keystore.Open(t.Context(), c)
	if err != nil {
		// Only a store whose Init was interrupted may be unfinished; the next process completes it.
		if len(p.versions) > 0 || errors.Is(err, keystore.ErrRolledBack) {
			t.Fatalf("after a kill: %v", err)
		}
		return
	}
	for v, want := range p.versions {
		key := k.Lookup(v.name)
		if key == nil {
			t.Fatalf("the key %s was acknowledged and is gone", v.name)
		}
		got, ok := key.Version(v.number)
		if !ok || fmt.Sprintf("%x", got.Fingerprint) != want {
			t.Fatalf("version %d of %s was acknowledged and is gone or another: %x, want %s", v.number, v.name, got.Fingerprint, want)
		}
		if public := got.PublicKey(); public != nil && sha256.Sum256(public) != got.Fingerprint {
			t.Errorf("version %d of %s has another public key", v.number, v.name)
		}
	}
	for name, active := range p.active {
		credential, number, err := k.Lookup(name).Credential(permit(t, name))
		// The next activation may have been made and not yet told.
		if err != nil || number < active || number > active+1 {
			t.Fatalf("version %d of %s was acknowledged as active, and %d is (%v)", active, name, number, err)
		}
		if err := credential.Prove(); err != nil {
			t.Errorf("version %d of %s does not sign: %v", number, name, err)
		}
	}
}

func permit(t *testing.T, key string) *policy.Permit {
	t.Helper()
	caller, err := policy.UnixCaller(1000)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{{
		Name: "signs", Effect: policy.Allow, Callers: []string{policy.Any}, Keys: []string{policy.Any}, Operations: []policy.Operation{policy.Any},
	}}}, policy.Catalog{"Sign": {}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Decide(policy.Question{Caller: caller, Operation: "Sign", Key: policy.Key{Name: key}}).Permit
}
