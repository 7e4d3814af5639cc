package keystore_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// object is a record's content as JSON.
type object map[string]any

func (o object) version(i int) object { return o["versions"].([]any)[i].(map[string]any) }

// canary stands in contents that must not be quoted.
const canary = "canary-in-a-sealed-record"

// contentTests are edits that a program with the data keys and a bug might make. Each record is sealed properly.
var contentTests = []struct {
	name   string
	record string
	edit   func(o object)
	says   string
}{
	{"a fingerprint of another key", "key/first", func(o object) { o.version(0)["fingerprint"] = o.version(1)["fingerprint"] }, "version 1: its key does not fit its fingerprint"},
	{"a fingerprint of no key", "key/second", func(o object) { o.version(0)["fingerprint"] = make([]byte, 32) }, "version 1: its key does not fit its fingerprint"},
	{"a short fingerprint", "key/first", func(o object) { o.version(1)["fingerprint"] = make([]byte, 31) }, "version 2 has no fingerprint"},
	{"another private key under the fingerprint", "key/first", func(o object) {
		o.version(0)["material"].(map[string]any)["private_key"] = []byte(noahPEM())
	}, "version 1: its key does not fit its fingerprint"},
	{"another secret under the fingerprint", "key/second", func(o object) {
		o.version(0)["material"].(map[string]any)["secret"] = []byte(canary)
	}, "version 1: its key does not fit its fingerprint"},
	{"a private key that is none", "key/first", func(o object) {
		o.version(0)["material"].(map[string]any)["private_key"] = []byte(canary)
	}, "version 1: its material cannot be used"},
	{"an enabled version without its API key", "key/first", func(o object) {
		delete(o.version(0)["material"].(map[string]any), "api_key")
	}, "version 1: it is ENABLED but incomplete"},
	{"no material", "key/second", func(o object) { o.version(0)["material"] = object{} }, "version 1: its material cannot be used"},
	{"a key of another name", "key/first", func(o object) { o["name"] = "second" }, "it holds a key of another name"},
	{"a malformed name", "key/first", func(o object) { o["name"] = canary + "/" }, "its name is malformed"},
	{"an unknown scheme", "key/first", func(o object) { o["scheme"] = "ripple" }, "does not know its scheme"},
	{"an unknown environment", "key/first", func(o object) { o["environment"] = canary }, "neither sandbox nor prod"},
	{"a newer format", "key/first", func(o object) { o["format"] = 2 }, "its format is 2"},
	{"an unknown field", "key/first", func(o object) { o[canary] = 1 }, "its content cannot be read"},
	{"a field of another type", "key/first", func(o object) { o["enabled"] = canary }, "its content cannot be read"},
	{"no version", "key/first", func(o object) { o["versions"] = []any{} }, "it has no version"},
	{"an active version that does not exist", "key/first", func(o object) { o["active"] = 9 }, "its active version does not exist"},
	{"an active version that is pending", "key/first", func(o object) { o.version(0)["state"] = "PENDING" }, "its active version is pending"},
	{"an unknown state", "key/first", func(o object) { o.version(1)["state"] = canary }, "version 2 has an unknown state"},
	{"a number used twice", "key/first", func(o object) { o.version(1)["number"] = 1 }, "out of order"},
	{"numbers that go down", "key/first", func(o object) { o.version(0)["number"] = 2; o.version(1)["number"] = 1; o["active"] = 2 }, "out of order"},
	{"a number that is still to be given", "key/first", func(o object) { o["next_version"] = 2 }, "out of order"},
	{"version 0", "key/first", func(o object) { o.version(0)["number"] = 0; o["active"] = 0 }, "out of order"},
	{"a fence of a newer format", "fence", func(o object) { o["format"] = 2 }, "malformed"},
	{"a fence with a short key", "fence", func(o object) { o["pepper"] = make([]byte, 16) }, "malformed"},
	{"a fence with an unknown field", "fence", func(o object) { o[canary] = 1 }, "cannot be read"},
	{"an audit log's key of a newer format", "audit-key", func(o object) { o["format"] = 2 }, "malformed"},
	{"an audit log's key that is short", "audit-key", func(o object) { o["seed"] = []byte(canary) }, "malformed"},
	{"an audit log's key with an unknown field", "audit-key", func(o object) { o[canary] = 1 }, "cannot be read"},
	{"a head of a newer format", "head", func(o object) { o["format"] = 2 }, "its format is 2"},
	{"a head with another counter", "head", func(o object) { o["counter"] = o["counter"].(float64) + 1 }, "its counter is not its generation"},
	{"a head whose root does not fit", "head", func(o object) { o["root"] = make([]byte, 32) }, "its root does not fit"},
	{"a head with an entry less", "head", func(o object) { o["entries"] = o["entries"].([]any)[1:] }, "its root does not fit"},
	{"a head with an entry twice", "head", func(o object) { o["entries"] = append(o["entries"].([]any), o["entries"].([]any)[0]) }, "twice"},
	{"a head with an entry of a short hash", "head", func(o object) {
		o["entries"].([]any)[0].(map[string]any)["sha256"] = []byte("short")
	}, "is malformed"},
	{"a head with an entry newer than itself", "head", func(o object) {
		o["entries"].([]any)[0].(map[string]any)["generation"] = 99
	}, "is malformed"},
	{"a head with an unknown field", "head", func(o object) { o[canary] = 1 }, "cannot be read"},
}

func TestARecordThatIsSealedProperlyButWrongIsNamed(t *testing.T) {
	for _, test := range contentTests {
		t.Run(test.name, func(t *testing.T) {
			c := inMemory(t)
			k := initialize(t, c)
			importKey(t, k, "first", noah.Name, upstream.Sandbox)
			must(t)(rotate(t.Context(), k, "first"))
			importKey(t, k, "second", noba.Name, upstream.Prod)
			edit := func(plaintext []byte) []byte {
				var o object
				if err := json.Unmarshal(plaintext, &o); err != nil {
					t.Fatal(err)
				}
				test.edit(o)
				return marshal(t, o)
			}
			reseal(t, c, test.record, edit)
			_, err := keystore.Open(t.Context(), c)
			wantDamage(t, test.name, err, test.record)
			if err != nil && (!strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), canary)) {
				t.Errorf("the error is %q, want one that says %q and quotes nothing", err, test.says)
			}
		})
	}
}

func reseal(t *testing.T, c keystore.Config, record string, edit func([]byte) []byte) {
	t.Helper()
	err := error(nil)
	if record == "head" {
		err = keystore.ResealHead(t.Context(), c, edit)
	} else {
		err = keystore.Reseal(t.Context(), c, record, edit)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAProperRecordThatTheHeadDoesNotListIsNamed(t *testing.T) {
	c := inMemory(t)
	importKey(t, initialize(t, c), "first", noba.Name, upstream.Prod)
	rename := func(plaintext []byte) []byte {
		return bytes.Replace(plaintext, []byte(`"first"`), []byte(`"other"`), 1)
	}
	if err := keystore.Smuggle(t.Context(), c, "key/first", "key/other", rename); err != nil {
		t.Fatal(err)
	}
	_, err := keystore.Open(t.Context(), c)
	wantDamage(t, "a key that the head does not list", err, "key/other")
}

func TestWhatFollowsARecordsContentIsNotIgnored(t *testing.T) {
	for _, record := range []string{"key/" + name, "fence", "audit-key", "head"} {
		for _, more := range []string{"{}", "]", "\x00", canary} {
			c := inMemory(t)
			importKey(t, initialize(t, c), name, noba.Name, upstream.Prod)
			reseal(t, c, record, func(plaintext []byte) []byte { return append(plaintext, more...) })
			_, err := keystore.Open(t.Context(), c)
			wantDamage(t, record+" followed by "+more, err, record)
		}
	}
}

func TestAnEditThatKeepsTheRulesOpens(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	importKey(t, k, name, noba.Name, upstream.Prod)
	same := func(plaintext []byte) []byte { return plaintext }
	for _, record := range []string{"key/" + name, "fence", "audit-key", "head"} {
		reseal(t, c, record, same)
	}
	if got := open(t, c).Lookup(name); describe(got) != "on: 1 ENABLED active" {
		t.Errorf("the key is %q after being sealed again", describe(got))
	}
}

func TestAKeyHasOnlySoManyVersions(t *testing.T) {
	const most = 1000
	c := inMemory(t)
	importKey(t, initialize(t, c), name, noba.Name, upstream.Prod)
	// One by one it would take long.
	err := keystore.Reseal(t.Context(), c, "key/"+name, func(plaintext []byte) []byte {
		var o object
		if err := json.Unmarshal(plaintext, &o); err != nil {
			t.Fatal(err)
		}
		var versions []any
		for i := range most - 1 {
			v := maps.Clone(o.version(0))
			v["number"] = i + 1
			versions = append(versions, v)
		}
		o["versions"], o["next_version"] = versions, most
		return marshal(t, o)
	})
	if err != nil {
		t.Fatal(err)
	}
	k := open(t, c)
	if got := len(must(t)(rotate(t.Context(), k, name)).Versions()); got != most {
		t.Errorf("the key has %d versions, want %d", got, most)
	}
	_, err = rotate(t.Context(), k, name)
	wantField(t, err, "name")
}
