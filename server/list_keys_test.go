package server_test

import (
	"fmt"
	"slices"
	"testing"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/server"
)

// list reads all pages and holds each against the size asked for: every page but the last is full, and the last is not
// empty unless it is the only one.
func (r *rig) list(t *testing.T, uid uint32, size int32) []string {
	t.Helper()
	var names []string
	token := ""
	for {
		out, err := r.admin.ListKeys(as(t, uid), &adminv1.ListKeysRequest{PageSize: size, PageToken: token})
		must(t, err)
		n, more := len(out.GetKeys()), out.GetNextPageToken() != ""
		if n > int(size) || more && n != int(size) || n == 0 && token != "" {
			t.Errorf("page size %d: a page of %d keys, more to come: %t", size, n, more)
		}
		for _, key := range out.GetKeys() {
			names = append(names, key.GetName())
		}
		if !more || n == 0 {
			return names
		}
		token = out.GetNextPageToken()
	}
}

func TestPagesAreFullAndHoldWhatTheCallerMayGet(t *testing.T) {
	t.Parallel()
	const first, middle, everyOther, none = 2001, 2002, 2003, 2004
	all := []string{"0", "a", "a-b", "a0", "ab", "b", "b-1", "c", "z"}
	visible := map[uint32][]string{
		operator: all, first: all[:1], middle: {"a0", "ab", "b"}, everyOther: {"0", "a-b", "ab", "b-1", "z"}, none: nil,
	}
	rules := []allowance{everything(t, operator), allows(t, none, all, "ListKeys"),
		// What one may do otherwise does not count.
		allows(t, first, all, "GetPublicKey"), allows(t, middle, all, "SignNoahRequest", "ComputeNobaSignature")}
	for uid, names := range visible {
		if len(names) > 0 && uid != operator {
			rules = append(rules, allows(t, uid, names, "GetKey"), allows(t, uid, []string{"no-such-key"}, "ListKeys"))
		}
	}
	r := start(t, setup{rules: rules})
	for _, i := range []int{4, 0, 8, 2, 6, 1, 3, 7, 5} {
		r.importedNoba(t, all[i])
	}
	for uid, want := range visible {
		for size := range int32(len(all) + 2) {
			t.Run(fmt.Sprintf("caller %d, pages of %d", uid, size+1), func(t *testing.T) {
				if got := r.list(t, uid, size+1); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestAPageHolds100KeysUnlessTheCallerSays(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for i := range 101 {
		r.importedNoba(t, fmt.Sprintf("key-%03d", i))
	}
	out, err := r.admin.ListKeys(as(t, operator), &adminv1.ListKeysRequest{})
	must(t, err)
	if len(out.GetKeys()) != 100 || out.GetNextPageToken() == "" {
		t.Errorf("%d keys, token %q", len(out.GetKeys()), out.GetNextPageToken())
	}
	out, err = r.admin.ListKeys(as(t, operator), &adminv1.ListKeysRequest{PageToken: out.GetNextPageToken()})
	must(t, err)
	if len(out.GetKeys()) != 1 || out.GetKeys()[0].GetName() != "key-100" || out.GetNextPageToken() != "" {
		t.Errorf("%v", out)
	}
}

func TestAKeyMadeBetweenTwoPagesIsOnTheSecond(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "a")
	r.importedNoba(t, "c")
	out, err := r.admin.ListKeys(as(t, operator), &adminv1.ListKeysRequest{PageSize: 1})
	must(t, err)
	r.importedNoba(t, "b") // between the pages
	out, err = r.admin.ListKeys(as(t, operator), &adminv1.ListKeysRequest{PageSize: 1, PageToken: out.GetNextPageToken()})
	must(t, err)
	if out.GetKeys()[0].GetName() != "b" {
		t.Errorf("got %v", out)
	}
}

func TestAKeyIsListedAsItIsGot(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, rpc := range server.RPCs() {
		if rpc.Name() == "ComputeNobaSignature" || rpc.Name() == "GetKey" {
			r.prepare(t, rpc)
		}
	}
	out, err := r.admin.ListKeys(as(t, operator), &adminv1.ListKeysRequest{})
	must(t, err)
	for _, listed := range out.GetKeys() {
		got, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: listed.GetName()})
		must(t, err)
		same(t, listed, got.GetKey())
	}
}
