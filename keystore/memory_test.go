package keystore

import (
	"runtime"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// live is what the heap holds after everything that is out of use is gone, in bytes.
func live() int64 {
	var m runtime.MemStats
	for range 3 { // what has a finalizer or a cleanup is freed by the collection after
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAKeyTakesAtMostTwoKiBBesideItsMaterial(t *testing.T) {
	for _, scheme := range []struct {
		upstream.Scheme
		keys     int
		material func(testing.TB, string) upstream.Material
	}{{noba.Scheme{}, 10_000, exampleMaterial}, {noah.Scheme{}, 2_000, noahMaterial}} {
		t.Run(scheme.Name(), func(t *testing.T) {
			n := int64(scheme.keys)
			before := live()
			k := filledWith(t, scheme.keys, scheme, scheme.material)
			k.config.Store.(*still).records = nil // they are the disk here
			whole := (live() - before) / n
			runtime.KeepAlive(k)

			before = live()
			credentials := make([]upstream.Credential, n)
			for i := range credentials {
				var err error
				if credentials[i], err = scheme.Open(scheme.material(t, keyName(i))); err != nil {
					t.Fatal(err)
				}
			}
			material := (live() - before) / n
			runtime.KeepAlive(credentials)
			t.Logf("a key takes %d bytes, %d of them its opened material", whole, material)
			if beside := whole - material; material <= 0 || beside <= 0 || beside > 2<<10 {
				t.Errorf("a key takes %d bytes beside its material, want at most 2048", beside)
			}
		})
	}
}

func noahMaterial(tb testing.TB, name string) upstream.Material {
	tb.Helper()
	m, err := noah.Scheme{}.Generate(noah.ES384)
	if err != nil {
		tb.Fatal(err)
	}
	m[upstream.PartAPIKey] = secret.New([]byte("apikey_prod_" + name))
	return m
}
