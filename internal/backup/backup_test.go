package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/internal/checkpoint"
)

// store is one that backups are of; its key is made for each run.
var store = func() *checkpoint.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	s, err := checkpoint.NewSigner("signerd/"+strings.Repeat("0", 32), private)
	if err != nil {
		panic(err)
	}
	return s
}()

var manifest = backup.Manifest{StoreID: strings.Repeat("0a", 16), Counter: 7, Root: strings.Repeat("0b", 32),
	Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Version: "test", RootKeyID: "file:0000"}

func records() []backup.Record {
	return []backup.Record{{Name: "key/b", Generation: 3, Sealed: bytes.Repeat([]byte{1}, 1000)}, {Name: "head", Generation: 7, Sealed: []byte("x")},
		{Name: "key/a", Generation: 1 << 40, Sealed: []byte{}}}
}

func written(t testing.TB) ([]byte, backup.Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := backup.Write(&b, manifest, records(), store.Sign)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

func TestABackupIsReadAsItWasWritten(t *testing.T) {
	b, wrote := written(t)
	var got []backup.Record
	m, seal, err := backup.Read(iotest.HalfReader(bytes.NewReader(b)), func(r backup.Record) error {
		got = append(got, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if m != wrote || m.Records != 3 || m.Keys != 2 || m.Bytes != 1001 || m.Format != backup.Format || !seal.By(store) {
		t.Errorf("it says %+v, and was written as %+v", m, wrote)
	}
	want := records()
	if diff := cmp.Diff([]backup.Record{want[1], want[2], want[0]}, got, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); diff != "" {
		t.Error(diff)
	}
}

func TestABackupThatWasCutAnywhereIsRefused(t *testing.T) {
	b, _ := written(t)
	for n := range b {
		_, _, err := backup.Read(bytes.NewReader(b[:n]), nil)
		if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNotBackup) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, _, err := backup.Read(bytes.NewReader(append(bytes.Clone(b), 0)), nil); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("with a byte more: %v", err)
	}
}

func TestABackupWithAnyByteChangedIsRefused(t *testing.T) {
	b, _ := written(t)
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		_, _, err := backup.Read(bytes.NewReader(changed), nil)
		if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNotBackup) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

func TestABackupThatSomebodyElseMadeIsNotTheStores(t *testing.T) {
	var b bytes.Buffer
	forge := func(text []byte) ([]byte, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return ed25519.Sign(private, text), err
	}
	if _, err := backup.Write(&b, manifest, records(), forge); err != nil {
		t.Fatal(err)
	}
	_, seal, err := backup.Read(&b, nil)
	if err != nil || seal.By(store) {
		t.Errorf("it passes for the store's (%v)", err)
	}
}

func TestWhatClaimsToBeLargeIsRefusedBeforeItIsRead(t *testing.T) {
	b, _ := written(t)
	size := int(binary.BigEndian.Uint32(b[15:]))
	head := func(text string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte("signerd backup\n"), uint32(len(text))), text...)
	}
	for name, in := range map[string][]byte{
		"manifest": append([]byte("signerd backup\n"), 0xff, 0xff, 0xff, 0xff),
		"records":  head(strings.Replace(string(b[19:19+size]), `"records":3`, `"records":99999999`, 1)),
		"bytes":    head(strings.Replace(string(b[19:19+size]), `"bytes":1001`, `"bytes":9007199254740991`, 1)),
		"record":   append(bytes.Clone(b[:19+size]), append([]byte("\x04head\x00\x00\x00\x00\x00\x00\x00\x07"), 0xff, 0xff, 0xff, 0xff)...),
		"name":     append(bytes.Clone(b[:19+size]), 0xff),
	} {
		beyond := func() (n int, err error) { t.Errorf("%s: more was read", name); return 0, io.EOF }
		_, _, err := backup.Read(io.MultiReader(bytes.NewReader(in), readerFunc(beyond)), nil)
		if !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := head(strings.Replace(string(b[19:19+size]), `"format":1`, `"format":2,"more":1`, 1))
	if _, _, err := backup.Read(bytes.NewReader(newer), nil); !errors.Is(err, backup.ErrNotBackup) {
		t.Errorf("a newer format: %v", err)
	}
}

func TestARecordIsNoLargerThanItsKindCanBe(t *testing.T) {
	for name, most := range map[string]int{"key/a": 16 << 20, "policy": 32 << 20, "audit": 4 << 20, "head": 64<<10 + 2*320, "keyring": 1 << 20, "fence": 1 << 20} {
		write := func(size int) (*bytes.Buffer, error) {
			var b bytes.Buffer
			_, err := backup.Write(&b, manifest, []backup.Record{{Name: name, Generation: 1, Sealed: make([]byte, size)}, {Name: "z", Generation: 1}}, store.Sign)
			return &b, err
		}
		if _, err := write(most + 1); err == nil {
			t.Errorf("%s: one of %d bytes is written", name, most+1)
		}
		b, err := write(most)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, _, err := backup.Read(bytes.NewReader(b.Bytes()), func(backup.Record) error { return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// The same file with one byte more in the record, and in the manifest: it is refused before the record is read.
		at := bytes.Index(b.Bytes(), append([]byte{byte(len(name))}, name...)) + 1 + len(name) + 8
		changed := bytes.Replace(bytes.Clone(b.Bytes()[:at+4]), fmt.Appendf(nil, `"bytes":%d`, most), fmt.Appendf(nil, `"bytes":%d`, most+1), 1)
		binary.BigEndian.PutUint32(changed[len(changed)-4:], uint32(most+1))
		beyond := func() (int, error) { t.Errorf("%s: more was read", name); return 0, io.EOF }
		if _, _, err := backup.Read(io.MultiReader(bytes.NewReader(changed), readerFunc(beyond)), nil); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotWantedIsCheckedAndNotKept(t *testing.T) {
	var b bytes.Buffer
	large := make([]byte, 8<<20)
	list := []backup.Record{{Name: "keyring", Generation: 1, Sealed: []byte("k")}}
	for _, name := range []string{"a", "b", "c", "d"} {
		list = append(list, backup.Record{Name: "key/" + name, Generation: 1, Sealed: large})
	}
	if _, err := backup.Write(&b, manifest, list, store.Sign); err != nil {
		t.Fatal(err)
	}
	var names []string
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, seal, err := backup.ReadSome(bytes.NewReader(b.Bytes()), func(name string) bool { return name == "keyring" }, func(r backup.Record) error {
		names = append(names, r.Name+"="+string(r.Sealed))
		return nil
	})
	runtime.ReadMemStats(&after)
	if err != nil || !seal.By(store) || strings.Join(names, " ") != "keyring=k" {
		t.Errorf("it gives %q (%v)", names, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("it took %d bytes of memory", used)
	}
	changed := b.Bytes()
	changed[len(changed)/2] ^= 1
	if _, _, err := backup.ReadSome(bytes.NewReader(changed), func(string) bool { return false }, nil); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("changed in what is not wanted: %v", err)
	}
}

type readerFunc func() (int, error)

func (f readerFunc) Read([]byte) (int, error) { return f() }

func TestErrorsOfWritersAndReadersArePassedOn(t *testing.T) {
	failure := errors.New("disk")
	b, _ := written(t)
	if _, _, err := backup.Read(io.MultiReader(bytes.NewReader(b[:200]), iotest.ErrReader(failure)), nil); !errors.Is(err, failure) {
		t.Errorf("reading: %v", err)
	}
	if _, _, err := backup.Read(bytes.NewReader(b), func(backup.Record) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("taking: %v", err)
	}
	if _, err := backup.Write(failing{failure}, manifest, records(), store.Sign); !errors.Is(err, failure) {
		t.Errorf("writing: %v", err)
	}
	if _, err := backup.Write(io.Discard, manifest, records(), func([]byte) ([]byte, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("signing: %v", err)
	}
	if _, err := backup.Write(io.Discard, manifest, []backup.Record{{Name: strings.Repeat("a", 129)}}, store.Sign); err == nil {
		t.Error("a name too long is written")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func FuzzRead(f *testing.F) {
	b, _ := written(f)
	f.Add(b)
	f.Add(b[:100])
	f.Add([]byte("signerd backup\n\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []backup.Record
		m, _, err := backup.Read(bytes.NewReader(b), func(r backup.Record) error {
			all = append(all, r)
			return nil
		})
		if err != nil {
			return
		}
		// What is read can be written, and says the same.
		var again bytes.Buffer
		m2, err := backup.Write(&again, m, all, store.Sign)
		if err != nil || m2 != m {
			t.Fatalf("%+v was written as %+v (%v)", m, m2, err)
		}
	})
}
