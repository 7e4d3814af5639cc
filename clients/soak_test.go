//go:build clients

package clients

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/signerd/signerd/internal/requestgen"
)

// TestRandomRequestsAreAcceptedThroughEveryHelper sends 1,000 requests with SIGNERD_SOAK=1, and fewer without. SEED repeats a run.
func TestRandomRequestsAreAcceptedThroughEveryHelper(t *testing.T) {
	n, seed := 100, rand.Uint64()
	if os.Getenv("SIGNERD_SOAK") == "1" {
		n = 1000
	}
	if text := os.Getenv("SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("SEED=%d", seed)
	requests := filepath.Join(t.TempDir(), "requests")
	file, err := os.Create(requests)
	must(t, err)
	must(t, requestgen.Write(file, seed, n))
	must(t, file.Close())

	in, ran := install(t), 0
	for _, l := range languages {
		if l.soak == nil {
			continue
		}
		ran++
		t.Run(l.name, func(t *testing.T) {
			l.ready(t)
			before := in.accepted()
			out, err := l.run(t, in.overSocket(), append(slices.Clone(l.soak), requests)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			after := in.accepted()
			sent := after["noah"] - before["noah"] + after["noba"] - before["noba"]
			t.Logf("%d requests were accepted\n%s", sent, out)
			if sent != n {
				t.Errorf("only %d of %d requests were accepted", sent, n)
			}
		})
	}
	if ran < 2 {
		t.Errorf("%d languages sent requests", ran)
	}
}
