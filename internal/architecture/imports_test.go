// Package architecture holds the tree to the rules of docs/architecture.md: which package may know which.
package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/signerd/signerd"

// packageInfo is what `go list` says of a package.
type packageInfo struct {
	ImportPath string
	Imports    []string
	Deps       []string // transitive
}

func listPackages(t *testing.T) []packageInfo {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []packageInfo
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p packageInfo
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages; the rules would hold of nothing", len(packages))
	}
	return packages
}

// within reports whether path is dir (relative to the module) or below it.
func within(path, dir string) bool {
	full := dir
	if !strings.Contains(strings.SplitN(dir, "/", 2)[0], ".") {
		full = module + "/" + dir
	}
	return path == full || strings.HasPrefix(path, full+"/")
}

// never lists what a part of the tree must not depend on, not even through others.
var never = []struct{ part, forbidden []string }{
	{[]string{"upstream", "policy"}, []string{"keystore", "server", "cmd", "gen", "google.golang.org/grpc", "go.etcd.io/bbolt"}},
	{[]string{"upstream"}, []string{"policy", "internal/config"}},
	{[]string{"policy"}, []string{"upstream", "internal"}},
	{[]string{"keystore"}, []string{"server", "audit", "cmd", "gen", "google.golang.org/grpc", "upstream/noah", "upstream/noba", "upstream/noon"}},
	{[]string{"server"}, []string{"keystore/bolt", "keystore/memory", "cmd", "go.etcd.io/bbolt", "internal/config", "internal/partners"}},
	{[]string{"cmd/signerctl", "client"}, []string{"server", "keystore", "policy", "audit", "upstream"}},
	{[]string{"client"}, []string{"internal", "cmd", "gen/signerd/admin"}},
	{[]string{"cmd/signerd"}, []string{"internal/partners", "internal/interop", "internal/certtest", "keystore/memory", "keystore/storetest"}},
	{[]string{"internal/partners"}, []string{"upstream", "policy", "keystore", "server", "internal/jsonstringify", "github.com/golang-jwt/jwt"}},
	{[]string{"internal/diagnosis"}, []string{"keystore", "server", "policy", "upstream", "audit", "cmd", "gen", "internal/partners", "google.golang.org/grpc"}},
	{[]string{"internal/tlsfiles"}, []string{"policy", "keystore", "server", "upstream", "google.golang.org/grpc"}},
	{[]string{"internal/checkpoint", "internal/backup"}, []string{"keystore", "server", "policy", "upstream", "audit", "cmd", "gen"}},
	{[]string{"internal/secret", "internal/durable", "internal/rootkey", "internal/recovery", "internal/importticket", "internal/ownfile", "internal/jsonstringify", "internal/version", "internal/metrics", "internal/tracing"},
		[]string{"keystore", "server", "policy", "upstream", "cmd", "gen"}},
}

func TestImportsPointOneWay(t *testing.T) {
	packages := listPackages(t)
	for _, rule := range never {
		matched := false
		for _, p := range packages {
			if !slices.ContainsFunc(rule.part, func(part string) bool { return within(p.ImportPath, part) }) {
				continue
			}
			matched = true
			for _, dep := range p.Deps {
				for _, forbidden := range rule.forbidden {
					if within(dep, forbidden) {
						t.Errorf("%s depends on %s, which %v must never do", p.ImportPath, dep, rule.part)
					}
				}
			}
		}
		if !matched {
			t.Errorf("the rule for %v matches no package", rule.part)
		}
	}
}

func TestKeystoreKnowsNoDatabase(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.ImportPath == module+"/keystore" && slices.ContainsFunc(p.Deps, func(dep string) bool { return within(dep, "go.etcd.io/bbolt") }) {
			t.Error("keystore depends on bbolt; only keystore/bolt may")
		}
	}
}

func TestPartnersPackagesKnowNothingOfEachOther(t *testing.T) {
	found := 0
	for _, p := range listPackages(t) {
		if !within(p.ImportPath, "upstream") || p.ImportPath == module+"/upstream" {
			continue
		}
		found++
		for _, dep := range p.Deps {
			if within(dep, "upstream") && dep != module+"/upstream" {
				t.Errorf("%s depends on %s", p.ImportPath, dep)
			}
		}
	}
	if found < 2 {
		t.Errorf("found %d partner packages, want at least 2", found)
	}
}

func TestTheLocalPartnersKnowNothingOfSignerd(t *testing.T) {
	found := false
	for _, p := range listPackages(t) {
		if p.ImportPath != module+"/internal/partners" {
			continue
		}
		found = true
		for _, dep := range p.Imports {
			if strings.HasPrefix(dep, module+"/") {
				t.Errorf("the local partners import %s", dep)
			}
		}
	}
	if !found {
		t.Error("there is no package internal/partners")
	}
}

func TestBuildToolsStayOutOfTheMainModule(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"github.com/bufbuild/buf ", "honnef.co/go/tools ", "google.golang.org/grpc/cmd/protoc-gen-go-grpc "} {
		if strings.Contains(string(out), "\n"+tool) {
			t.Errorf("%sis in the main module; tools have modules of their own under tools/", tool)
		}
	}
}
