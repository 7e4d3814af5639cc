package condition_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/condition"
)

func TestMistakesAreErrorsWithTheirPosition(t *testing.T) {
	const inexact = "a number with a point or an exponent is not exact here: write decimal("
	for name, test := range map[string]struct {
		source string
		want   string // how the error starts
	}{
		"nothing":                               {``, `1:1: Syntax error`},
		"half an expression":                    {`caller ==`, `1:10: Syntax error`},
		"a bracket too many":                    {`caller == "x")`, `1:14: Syntax error`},
		"an unknown name":                       {`caler == "x"`, `1:1: caler is not known`},
		"an unknown name in a loop":             {`[1].all(i, j == i)`, `1:12: j is not known`},
		"a name after its loop":                 {`[1].all(i, i == 1) && i == 1`, `1:23: i is not known`},
		"an absolute name":                      {`.caller == "x"`, `1:2: .caller is not known`},
		"a qualified name":                      {`google.protobuf.Timestamp == 1`, `1:1: google is not known`},
		"a type":                                {`int == int`, `1:1: int is not known`},
		"an unknown field of request":           {`request.metod == "x"`, `1:9: request has no field metod; it has method, path, query`},
		"an unknown field of key":               {`key . lables.team == "x"`, `1:7: key has no field lables`},
		"an unknown field on another line":      {"caller == \"x\" &&\n\trequest.foo == 2", `2:10: request has no field foo`},
		"an unknown field behind other letters": {`"éé" == request.foo`, `1:17: request has no field foo`},
		"the first of two mistakes":             {`request.foo == 2 && caler == "x"`, `1:9: request has no field foo`},
		"request by itself":                     {`request == 1`, `1:1: request is no value by itself`},
		"key by itself":                         {`has(body.x) && key["name"] == 1`, `1:16: key is no value by itself`},
		"an element that hides an input":        {`[1].all(body, body == 1)`, `1:8: body is what a condition reads`},
		"a text and a number":                   {`caller == 5`, `1:8: found no matching overload for '_==_' applied to '(string, int)'`},
		"a decimal and a text":                  {`decimal(body.amount) == "500"`, `1:22: found no matching overload for '_==_' applied to '(int, string)'`},
		"an order of text and number":           {`request.path < 5`, `1:14: found no matching overload for '_<_'`},
		"a list of both":                        {`key.labels.team in [1]`, `1:17: found no matching overload for '@in'`},
		"no bool":                               {`1 + 1`, `1:1: it is of type int, but a condition is a bool`},
		"a value of the body alone":             {`body.approved`, `1:1: it is of type dyn, but a condition is a bool; for a value of the body write == true`},
		"a number with a point":                 {`body.amount <= 100.5`, `1:16: ` + inexact + `"100.5")`},
		"a negative number with a point":        {`body.amount <= -0.10`, `1:16: ` + inexact + `"-0.1")`},
		"a number with an exponent":             {`body.amount <= 1e3`, `1:16: ` + inexact + `"1000")`},
		"a number with a point in a list":       {`body.amount in [1, 2.5]`, `1:20: ` + inexact + `"2.5")`},
		"a number beyond 64 bits":               {`body.amount < 9223372036854775808`, `1:15: invalid int literal`},
		"an unsigned number":                    {`body.amount == 1u`, `1:16: there are no unsigned integers`},
		"bytes":                                 {`body.text == b"x"`, `1:14: there are no bytes`},
		"double()":                              {`double(body.amount) < 5`, `1:7: there are no doubles`},
		"int()":                                 {`int(body.amount) < 5`, `1:4: there is no int()`},
		"uint()":                                {`uint(body.amount) < 5`, `1:5: there are no unsigned integers`},
		"string()":                              {`string(body.amount) == "5"`, `1:7: there is no string()`},
		"dyn()":                                 {`dyn(caller) == 5`, `1:4: there is no dyn()`},
		"type()":                                {`type(body.amount) == int`, `1:5: there is no type()`},
		"division":                              {`body.amount / 2 == 1`, `1:13: there is no division`},
		"a remainder":                           {`body.amount % 2 == 1`, `1:13: there is no division`},
		"a decimal that is none":                {`body.amount < decimal("1,5")`, `1:23: it is not a decimal number`},
		"a decimal with an exponent":            {`body.amount < decimal("1e5")`, `1:23: it is not a decimal number`},
		"a pattern that is none":                {`request.path.matches("(")`, `1:22: error parsing regexp`},
		"a pattern from the request":            {`request.path.matches(body.x)`, `1:26: the pattern of matches is a literal text`},
		"a pattern that is too large":           {`request.path.matches("(.{1,100}){1,10}")`, `1:22: the pattern is too large`},
		"matches as a function":                 {`matches(caller, "x")`, `1:8: found no matching overload for 'matches'`},
		"a time that is none":                   {`now < timestamp("tomorrow")`, `1:17: invalid timestamp argument`},
		"a duration that is none":               {`now - now < duration("a day")`, `1:22: invalid duration argument`},
		"a named time zone":                     {`now.getHours("Europe/Zurich") < 5`, `1:14: a time zone is a literal`},
		"a time zone from the request":          {`now.getHours(body.zone) < 5`, `1:18: a time zone is a literal`},
		"has() of what is always there":         {`has(request.path)`, `1:4: has() is for what may be missing`},
		"has() of a label's map":                {`has(key.labels)`, `1:4: has() is for what may be missing`},
		"has() of a name":                       {`has(body)`, `1:5: invalid argument to has() macro`},
		"an unknown function":                   {`caller.lower() == "x"`, `1:13: undeclared reference to 'lower'`},
		"a message":                             {`Foo{a: 1} == Foo{}`, `1:4: there are no messages`},
		"a map by numbers":                      {`{1: 2}[1] == 2`, `1:2: a name in a map is a literal text`},
		"an optional field":                     {`body.?x == 1`, `1:5: unsupported syntax '.?'`},
		"too deep":                              {strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), `1:1: expression recursion limit exceeded`},
		"too long":                              {`caller == "` + strings.Repeat("x", 4096) + `"`, `1:1: it is longer than 4096 bytes`},
		"no UTF-8":                              {"caller == \"\xff\"", `1:1: it is not UTF-8`},
	} {
		c, err := condition.Compile(test.source)
		var compileErr *condition.Error
		if c != nil || !errors.As(err, &compileErr) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %.80s: got %v, want %s…", name, test.source, err, test.want)
		}
	}
}

func TestTheLongestConditionIsCompiled(t *testing.T) {
	compile(t, `caller == "`+strings.Repeat("x", 4096-len(`caller == ""`))+`"`)
	compile(t, strings.TrimSuffix(strings.Repeat(`body.a == 1 || `, 270), ` || `))
}

// Without seeds a fuzz target finds nothing in the ordinary test run, and nobody notices.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
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
		for _, match := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(source), -1) {
			targets++
			if seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", match[1])); err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seeds in testdata/fuzz/%s: %v", match[1], match[1], err)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target was found")
	}
}
