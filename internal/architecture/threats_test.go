package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	threatModel = "../../docs/threat-model.md"
	root        = "../../"
)

// TestEveryPromiseOfTheThreatModelNamesATestThatThereIs holds docs/threat-model.md to itself and to the tree: each row of its first table
// that promises something, and each of its details, has rows under "What shows it", and each of those names tests that exist.
func TestEveryPromiseOfTheThreatModelNamesATestThatThereIs(t *testing.T) {
	text, err := os.ReadFile(threatModel)
	if err != nil {
		t.Fatal(err)
	}
	promised := make(map[string]bool) // whether something shows it
	for _, row := range tableRows(section(t, string(text), "What is promised")) {
		if len(row) != 3 {
			t.Errorf("a row has %d cells: %q", len(row), row)
		} else if row[1] != "" {
			promised[row[0]] = false
		}
	}
	for _, title := range regexp.MustCompile(`(?m)^- \*\*([^*]+?)\.?\*\*`).FindAllStringSubmatch(section(t, string(text), "Details worth knowing"), -1) {
		promised[title[1]] = false
	}
	shown := tableRows(section(t, string(text), "What shows it"))
	if len(promised) < 20 || len(shown) < len(promised) {
		t.Fatalf("found %d promises and %d rows of tests", len(promised), len(shown))
	}
	for _, row := range shown {
		if len(row) != 3 || row[1] == "" {
			t.Errorf("wanted who or what, what is promised, and tests: %q", row)
			continue
		}
		if _, ok := promised[row[0]]; !ok {
			t.Errorf("%q has tests, and no promise", row[0])
		}
		promised[row[0]] = true
		tests := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1)
		if len(tests) == 0 {
			t.Errorf("%q: %q names no test", row[0], row[1])
		}
		for _, name := range tests {
			if !testExists(t, name[1]) {
				t.Errorf("%q: there is no test %s", row[0], name[1])
			}
		}
	}
	for promise, ok := range promised {
		if !ok {
			t.Errorf("nothing is said to show what is promised of %q", promise)
		}
	}
}

func section(t *testing.T, text, title string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n## "+title+"\n")
	if !found {
		t.Fatalf("docs/threat-model.md has no section %q", title)
	}
	out, _, _ := strings.Cut(after, "\n## ")
	return out
}

// tableRows are the cells of a section's tables, without their heads.
func tableRows(section string) (rows [][]string) {
	var before string
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "|") && strings.HasPrefix(before, "|") && !strings.HasPrefix(line, "|-") {
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			rows = append(rows, cells)
		}
		before = line
	}
	return rows
}

// testExists reports whether there is a test, as folder.Name, or a script, as a path.
func testExists(t *testing.T, name string) bool {
	t.Helper()
	if strings.HasSuffix(name, ".txtar") {
		_, err := os.Stat(root + name)
		return err == nil
	}
	folder, function, found := strings.Cut(name, ".")
	files, err := filepath.Glob(root + folder + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found && strings.Contains(string(text), "\nfunc "+function+"(") && strings.HasPrefix(function, "Test") {
			return true
		}
	}
	return false
}
