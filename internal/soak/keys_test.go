package soak

import (
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

const (
	// mostStart is how long a start may take, until the first signature.
	mostStart = 2 * time.Second
	// mostSlower is how much longer a signature may take where there are many keys.
	mostSlower = 1.25
	pageSize   = 1000
)

func TestManyKeysStartListAndSignLikeFew(t *testing.T) {
	few, many, starts, signatures := 10, 30, 2, 100
	if soak {
		many, starts, signatures = 10_000, 5, 20_000
	}
	a, b := withKeys(t, few), withKeys(t, many)
	startFew, startMany := a.startTimes(t, starts), b.startTimes(t, starts)
	b.listAll(t, many)
	// In turns, so that both have the same share of the machine.
	signFew, signMany := make([]time.Duration, signatures), make([]time.Duration, signatures)
	callFew, callMany := a.signer(t), b.signer(t)
	for i := range signatures {
		signFew[i] = callFew(2*mathrand.IntN(few/2) + 1)
		signMany[i] = callMany(2*mathrand.IntN(many/2) + 1)
	}
	memoryFew, memoryMany := a.memory(t), b.memory(t)
	a.stop(t)
	b.stop(t)

	slower := float64(middle(signMany)) / float64(middle(signFew))
	t.Logf("a start takes %v with %d keys and %v with %d, a signature %.2f times as long", startFew, few, startMany, many, slower)
	t.Logf("memory: %s and %s, %d bytes a key with what is not collected yet", mebibytes(memoryFew), mebibytes(memoryMany), (memoryMany-memoryFew)/(many-few))
	if soak && startMany > mostStart {
		t.Errorf("with %d keys a start takes %v, want at most %v", many, startMany, mostStart)
	}
	if soak && slower > mostSlower {
		t.Errorf("a signature takes %.2f times as long with %d keys, want at most %.2f", slower, many, mostSlower)
	}
}

// withKeys fills a signerd, half with NOAH's keys and half with Noba's, and stops it.
func withKeys(t *testing.T, keys int) *signerd {
	t.Helper()
	s := install(t, "audit: {dir: audit}")
	s.start(t)
	s.serving(t)
	conn := s.dial(t, "admin.sock")
	setFirstPolicy(t, conn, fmt.Sprintf("unix:uid=%d", os.Geteuid()))
	began := time.Now()
	for i := range keys {
		if name := manyName(i); i%2 == 0 {
			importNOAH(t, conn, name, elliptic.P384())
		} else {
			importKey(t, conn, name, "noba", map[string][]byte{"api_key": []byte(rand.Text()), "secret": []byte(rand.Text())})
		}
	}
	t.Logf("with %d keys an import takes %v", keys, (time.Since(began) / time.Duration(keys)).Round(time.Microsecond))
	must(t, conn.Close())
	s.stop(t)
	return s
}

// startTimes starts the process a few times, and leaves it running. It gives the median of the times until the first signature.
func (s *signerd) startTimes(t *testing.T, starts int) time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range starts {
		if i > 0 {
			s.stop(t)
		}
		began := time.Now()
		s.start(t)
		s.serving(t)
		s.signer(t)(1)
		took = append(took, time.Since(began))
	}
	return middle(took)
}

// signer signs with a key of Noba's on one connection, and says how long that took.
func (s *signerd) signer(t *testing.T) func(key int) time.Duration {
	t.Helper()
	signer := signerdv1.NewSignerServiceClient(s.dial(t, "app.sock"))
	return func(key int) time.Duration {
		began := time.Now()
		_, err := signer.ComputeNobaSignature(t.Context(), &signerdv1.ComputeNobaSignatureRequest{Key: manyName(key), Method: "GET", Path: "/v1/transactions"})
		must(t, err)
		return time.Since(began)
	}
}

func manyName(i int) string { return fmt.Sprintf("account-%05d", i) }

// listAll reads the list page by page, and wants every key once, by name.
func (s *signerd) listAll(t *testing.T, keys int) {
	t.Helper()
	conn := s.dial(t, "admin.sock")
	defer func() { _ = conn.Close() }()
	var names []string
	for token, pages := "", 0; ; pages++ {
		page, err := adminv1.NewKeyServiceClient(conn).ListKeys(t.Context(), &adminv1.ListKeysRequest{PageSize: pageSize, PageToken: token})
		must(t, err)
		for _, k := range page.GetKeys() {
			names = append(names, k.GetName())
		}
		if len(page.GetKeys()) > pageSize || pages > keys/pageSize+1 {
			t.Fatalf("page %d has %d keys", pages, len(page.GetKeys()))
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(names) != keys || !slices.IsSorted(names) || len(slices.Compact(names)) != keys {
		t.Errorf("the pages list %d keys, want %d, each once and in order", len(names), keys)
	}
}

// memory is what the process holds in RAM beside files that it maps, in bytes.
func (s *signerd) memory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(text), "\nRssAnon:")
	line, _, _ := strings.Cut(rest, " kB")
	kilobytes, err := strconv.Atoi(strings.TrimSpace(line))
	must(t, err)
	return kilobytes << 10
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
