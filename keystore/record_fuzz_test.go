package keystore

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/signerd/signerd/internal/secret"
)

func FuzzDecodeKeyRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		first, err := decodeKeyRecord(plaintext)
		if err != nil {
			return
		}
		// Not a byte is compared with the input: JSON is written in many ways. Its meaning must stay.
		once := mustEncode(t, first)
		second, err := decodeKeyRecord(once)
		if err != nil {
			t.Fatalf("what was decoded and encoded does not decode: %v\n%s", err, once)
		}
		if twice := mustEncode(t, second); !bytes.Equal(once, twice) {
			t.Fatalf("decoding changed the record from\n%s\nto\n%s", once, twice)
		}
		for _, v := range first.Versions {
			if again := second.version(v.Number); again == nil || !bytes.Equal(again.Fingerprint, v.Fingerprint) || len(v.material()) != len(v.Material) {
				t.Fatalf("version %d is not what it was", v.Number)
			}
		}
	})
}

func mustEncode(t *testing.T, r keyRecord) []byte {
	t.Helper()
	b, err := encode(r)
	if err != nil {
		t.Fatalf("what was decoded does not encode: %v", err)
	}
	return b
}

func FuzzDecodeHead(f *testing.F) {
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		first, err := decodeHead(plaintext)
		if err != nil {
			return
		}
		once, err := first.encode()
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		second, err := decodeHead(once)
		if err != nil {
			t.Fatalf("what was decoded and encoded does not decode: %v\n%s", err, once)
		}
		if second.counter != first.counter || !maps.Equal(second.entries, first.entries) || second.root() != first.root() {
			t.Fatalf("decoding changed the head from\n%v\nto\n%v", first, second)
		}
	})
}

func FuzzDecodeUsageRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		first, err := decodeUsageRecord(plaintext)
		if err != nil {
			return
		}
		once, err := encode(first)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		second, err := decodeUsageRecord(once)
		if err != nil {
			t.Fatalf("what was decoded and encoded does not decode: %v\n%s", err, once)
		}
		if twice, err := encode(second); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("decoding changed the record from\n%s\nto\n%s (%v)", once, twice, err)
		}
	})
}

func FuzzOpenSealed(f *testing.F) {
	s := exampleSealer(f)
	f.Fuzz(func(t *testing.T, name string, generation uint64, sealed []byte) {
		given := bytes.Clone(sealed)
		plaintext, err := s.open(name, generation, sealed)
		if !bytes.Equal(given, sealed) {
			t.Fatal("opening changed the sealed record")
		}
		if err != nil {
			return
		}
		if again, err := s.open(name, generation, s.seal(name, generation, plaintext)); err != nil || !bytes.Equal(again, plaintext) {
			t.Fatalf("sealed again, the record opens as %q (%v), want %q", again, err, plaintext)
		}
		for _, wrong := range []struct {
			name       string
			generation uint64
		}{{name + "x", generation}, {"x" + name, generation}, {name, generation + 1}, {name, ^generation}} {
			if _, err := s.open(wrong.name, wrong.generation, sealed); err == nil {
				t.Fatalf("the record of %q at %d opens as %q at %d", name, generation, wrong.name, wrong.generation)
			}
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			if _, err := s.open(name, generation, changed); err == nil {
				t.Fatalf("the record opens with byte %d changed", i)
			}
		}
	})
}

// exampleSealer has keys that are no secret, so that seeds can be sealed and committed.
func exampleSealer(tb testing.TB) *sealer {
	tb.Helper()
	s, err := newSealer(keyring{store: storeID([]byte("an example store")), active: 1, keys: map[uint32]secret.Bytes{
		1: secret.New([]byte("an example data key of 32 bytes.")),
		9: secret.New([]byte("an older example data key, same.")),
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestEveryFuzzTargetHasASeedCorpus(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllSubmatch(source, -1) {
			targets++
			seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", string(match[1]), "*"))
			if err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seeds (%v)", match[1], err)
			}
		}
	}
	if targets < 3 {
		t.Errorf("found %d fuzz targets, want 3 or more", targets)
	}
}

// Seeds that are all refused at once explore nothing.
func TestSomeSeedsAreAccepted(t *testing.T) {
	s := exampleSealer(t)
	for target, accepts := range map[string]func(args []string) bool{
		"FuzzDecodeKeyRecord":   func(args []string) bool { _, err := decodeKeyRecord([]byte(args[0])); return err == nil },
		"FuzzDecodeUsageRecord": func(args []string) bool { _, err := decodeUsageRecord([]byte(args[0])); return err == nil },
		"FuzzDecodeHead":        func(args []string) bool { _, err := decodeHead([]byte(args[0])); return err == nil },
		"FuzzOpenSealed": func(args []string) bool {
			generation, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.open(args[0], generation, []byte(args[2]))
			return err == nil
		},
	} {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for _, seed := range seeds {
			if accepts(seedArguments(t, seed)) {
				accepted++
			}
		}
		if accepted < 2 || accepted == len(seeds) {
			t.Errorf("%s accepts %d of %d seeds, want some and not all", target, accepted, len(seeds))
		}
	}
}

// seedArguments reads a file of go test's format: a line of version, and a line type(value) for each argument.
func seedArguments(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, match := range regexp.MustCompile(`(?m)^[a-z0-9\[\]]+\((.*)\)$`).FindAllSubmatch(content, -1) {
		text := string(match[1])
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		args = append(args, text)
	}
	return args
}
