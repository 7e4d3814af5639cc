package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/scripttest"
)

// TestEveryPolicyExampleDecidesItsCases has signerd decide every case of docs/examples/policies, with signerctl.
func TestEveryPolicyExampleDecidesItsCases(t *testing.T) {
	files := policyExamples(t)
	test := testPolicies(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			results, err := test(file)
			if err != nil {
				t.Fatal(err)
			}
			decided := make(map[adminv1.PolicyEffect]int)
			for _, r := range results {
				decided[r.GetEffect()]++
				if !r.GetPassed() {
					t.Errorf("case %q is decided %v by rule %q", r.GetName(), r.GetEffect(), r.GetRule())
				}
			}
			if decided[adminv1.PolicyEffect_POLICY_EFFECT_ALLOW] == 0 || decided[adminv1.PolicyEffect_POLICY_EFFECT_DENY] == 0 {
				t.Errorf("its cases are decided %v: an example shows what it allows and what it stops", decided)
			}
		})
	}
}

// A test that could not fail would prove nothing.
func TestAPolicyExampleThatExpectsTheContraryFails(t *testing.T) {
	test := testPolicies(t)
	for _, file := range policyExamples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = bytes.ReplaceAll(text, []byte("expect: allow"), []byte("expect: denied"))
			text = bytes.ReplaceAll(text, []byte("expect: deny\n"), []byte("expect: allow\n"))
			text = bytes.ReplaceAll(text, []byte("expect: denied"), []byte("expect: deny"))
			contrary := filepath.Join(t.TempDir(), "contrary.yaml")
			if err := os.WriteFile(contrary, text, 0o600); err != nil {
				t.Fatal(err)
			}
			results, err := test(contrary)
			if err == nil || len(results) == 0 {
				t.Fatalf("%d cases were decided, and the exit status says that none fails (%v)", len(results), err)
			}
			for _, r := range results {
				if r.GetPassed() {
					t.Errorf("case %q passes whatever it expects", r.GetName())
				}
			}
		})
	}
}

func TestThePolicyPageNamesEveryExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var named, want []string
	for _, m := range regexp.MustCompile(`\]\(examples/policies/([^)]+)\)`).FindAllSubmatch(page, -1) {
		named = append(named, string(m[1]))
	}
	for _, file := range policyExamples(t) {
		want = append(want, filepath.Base(file))
	}
	if !slices.Equal(named, want) {
		t.Errorf("docs/policy.md explains\n%v\nthere are\n%v", named, want)
	}
}

// policyExamples are at least ten files; an absolute path means the same in every folder.
func policyExamples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../docs/examples/policies/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d policies, want at least ten (%v)", len(files), err)
	}
	for i, file := range files {
		if files[i], err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// testPolicies starts signerd for development, and gives what runs `signerctl policy test` there.
func testPolicies(t *testing.T) func(file string) ([]*adminv1.PolicyCaseResult, error) {
	t.Helper()
	dir, bin := t.TempDir(), scripttest.Build(t)
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	runLine(t, dir, "bin/signerd dev &")
	return func(file string) ([]*adminv1.PolicyCaseResult, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "signerctl"), "policy", "test", "-o", "json", file)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "SIGNERD_ADDRESS=unix://"+filepath.Join(dir, ".signerd", "signerd.sock"), "GORACE=atexit_sleep_ms=0")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		var resp adminv1.TestPolicyResponse
		if bad := protojson.Unmarshal(out, &resp); bad != nil {
			t.Fatalf("signerctl policy test %s: %v\n%s%s", file, err, out, stderr.String())
		}
		return resp.GetResults(), err
	}
}
