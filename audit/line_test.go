package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/signerd/signerd/audit/segment"
)

// line is the whole line of a record, without its newline.
func line(r *Record) []byte {
	return r.appendTail(strconv.AppendUint([]byte(`{"n":`), r.N, 10))
}

// callOfProduction is a record as most are.
func callOfProduction() *Record {
	return &Record{
		N: 123456, Kind: KindCall, ID: "0198f3c2-7d3e-7cc1-9a55-0123456789ab",
		Time:   time.Date(2026, 10, 1, 12, 30, 15, 123456789, time.FixedZone("", 7200)),
		Caller: "unix:uid=1001", IdentifiedBy: "unix", Operation: "sign", Scheme: "noah", Key: "payments/noah-production", Version: 3,
		Environment: "production", Method: "POST", Path: "/v1/transactions/sell", QueryNames: []string{"cursor", "page_size"},
		BodySHA256: strings.Repeat("0123456789abcdef", 4), BodyBytes: 512, Decision: "allow", Rule: "payments-may-sell", Policy: 17,
		Code: "OK", Micros: 1350,
		Headers: map[string]string{"Api-Signature": strings.Repeat("fedcba9876543210", 4), "Api-Key": strings.Repeat("0", 64)},
	}
}

var (
	texts = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "<script>&amp;", `"\`, "\x00\x1f\x7f\b\f\n\r\t", "\xff\xfe", "\u2028\u2029\ufffd", "😀", "\xf0\x9f\x98", "a",
	}))
	// Encoding drops what is finer than a microsecond; encoding/json would keep it.
	times = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "micros")).UTC()
	})
	ranges  = rapid.Custom(func(t *rapid.T) Range { return Range{rapid.Uint64().Draw(t, "from"), rapid.Uint64().Draw(t, "until")} })
	records = rapid.Custom(func(t *rapid.T) *Record {
		text := func() string { return texts.Draw(t, "text") }
		list := func() []string {
			return rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(texts, 0, 5)).Draw(t, "list")
		}
		count := func() uint64 { return rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(t, "count") }
		r := &Record{
			N: count(), Kind: Kind(text()), ID: text(), Time: times.Draw(t, "time"),
			Caller: text(), IdentifiedBy: text(), Certificate: text(), Operation: text(), Scheme: text(), Key: text(), Version: uint32(count()),
			Environment: text(), Generation: count(), Method: text(), Path: text(), QueryNames: list(), BodySHA256: text(), BodyBytes: int64(count()),
			Cut: rapid.Bool().Draw(t, "cut"), Decision: text(), Rule: text(), Policy: count(), Shadow: list(), Unevaluated: list(),
			UnevaluatedCount: int(int64(count())), Needs: text(), Note: text(), Code: text(), Reason: text(), Micros: int64(count()),
			QueryValues: rapid.MapOfN(rapid.String(), rapid.SliceOfN(texts, 0, 3), 0, 4).Draw(t, "values"),
			Headers:     rapid.MapOfN(rapid.String(), texts, 0, 4).Draw(t, "headers"),
		}
		if rapid.Bool().Draw(t, "parts") {
			r.Excess = &Excess{count(), times.Draw(t, "from"), times.Draw(t, "until")}
			r.File = &File{Origin: text(), Edge: list(), Checkpoint: text()}
			if rapid.Bool().Draw(t, "previous") {
				r.File.Previous = &Previous{count(), count(), int64(count())}
			}
			r.Start = &Start{text(), count(), int64(count()), text()}
			r.Outage = &Outage{From: times.Draw(t, "from"), Calls: count(), Cause: text()}
			if rapid.Bool().Draw(t, "late") {
				late := ranges.Draw(t, "late")
				r.Outage.Late = &late
			}
			r.Acknowledgement = &Acknowledgement{text(), rapid.SliceOfN(ranges, 0, 3).Draw(t, "missing"), text()}
			r.Retention = &Retention{count(), list()}
		}
		return r
	})
)

// theirs is what encoding/json writes. Its times have no more digits than they need, which the caller of it gives times for.
func theirs(t testing.TB, r *Record) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		t.Fatal(err)
	}
	text := bytes.ReplaceAll(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte(`\ufffd`), []byte("\ufffd"))
	var escaped bytes.Buffer
	for _, r := range string(text) {
		if r >= 0x7f && r < 0xa0 || strings.ContainsRune("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", r) {
			fmt.Fprintf(&escaped, "\\u%04x", r)
		} else {
			escaped.WriteRune(r)
		}
	}
	text = escaped.Bytes()
	all := []time.Time{r.Time}
	if r.Excess != nil {
		all = append(all, r.Excess.From, r.Excess.Until, r.Outage.From)
	}
	at := 0
	for _, tm := range all {
		short := []byte(`":"` + tm.Format(time.RFC3339Nano) + `"`)
		i := bytes.Index(text[at:], short) + at
		long := append(append(append([]byte{}, text[:i]...), `":"`+tm.Format("2006-01-02T15:04:05.000000Z07:00")+`"`...), text[i+len(short):]...)
		text, at = long, i+1
	}
	return text
}

func TestALineIsWhatEncodingJSONWrites(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := records.Draw(rt, "record")
		got, want := line(r), theirs(t, r)
		if !bytes.Equal(got, want) {
			rt.Fatalf("got  %s\nwant %s", got, want)
		}
		if r.Kind == "" {
			return
		}
		parsed, err := Parse(got)
		if err != nil {
			rt.Fatalf("%s: %v", got, err)
		}
		if again := line(&parsed); !bytes.Equal(again, got) {
			rt.Fatalf("read and written again: %s\nwas %s", again, got)
		}
	})
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	r := callOfProduction()
	got, err := Parse(line(r))
	if err != nil {
		t.Fatal(err)
	}
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	if diff := cmp.Diff(*r, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestTimesAreWrittenInUTCWithSixDecimals(t *testing.T) {
	for _, c := range []struct {
		name string
		time time.Time
		want string
	}{
		{"a time of another zone is given in UTC", callOfProduction().Time, "2026-10-01T10:30:15.123456Z"},
		{"a whole second has its decimals", time.Unix(1700000000, 0), "2023-11-14T22:13:20.000000Z"},
		{"a year that cannot be spelt is no year", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "0001-01-01T00:00:00.000000Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := line(&Record{Kind: KindCall, Time: c.time})
			if !bytes.Contains(got, []byte(`"time":"`+c.want+`"`)) {
				t.Errorf("%s; want %s", got, c.want)
			}
		})
	}
}

func TestLongTextsAreCut(t *testing.T) {
	many := func(n int, text string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = text + fmt.Sprintf("%03d", i)
		}
		return out
	}
	values := func(n int, name, value string) map[string][]string {
		out := map[string][]string{}
		for _, s := range many(n, name) {
			out[s] = []string{value}
		}
		return out
	}
	headers := make(map[string]string)
	for _, s := range many(40, "header-") {
		headers[s] = "00"
	}
	for _, c := range []struct {
		name   string
		record Record
		ok     func(Record) bool
	}{
		{"a path has 4096 bytes", Record{Path: strings.Repeat("/", 5000)}, func(r Record) bool { return len(r.Path) == 4096 }},
		{"a character is not split", Record{Path: strings.Repeat("/", 4095) + "é"}, func(r Record) bool { return len(r.Path) == 4095 }},
		{"an escape is not split", Record{Path: strings.Repeat("/", 4092) + "\x01"}, func(r Record) bool { return len(r.Path) == 4092 }},
		{"escapes count as they are written", Record{Path: strings.Repeat("\x01", 4096)}, func(r Record) bool { return len(r.Path) == 4096/6 }},
		{"a query has 64 names", Record{QueryNames: many(65, "n")}, func(r Record) bool { return len(r.QueryNames) == 64 }},
		{"names of a query have 4096 bytes", Record{QueryNames: many(64, strings.Repeat("n", 97))}, func(r Record) bool {
			return len(strings.Join(r.QueryNames, "")) == 4096
		}},
		{"a query's values have 16384 bytes", Record{QueryValues: values(2, "n", strings.Repeat("v", 10000))}, func(r Record) bool {
			return len(r.QueryValues) == 2 && len(r.QueryValues["n000"][0]) == 2048
		}},
		{"a query has values of 64 names", Record{QueryValues: values(65, "n", "")}, func(r Record) bool { return len(r.QueryValues) == 64 }},
		{"names that are the same once cut are there once", Record{QueryValues: values(2, strings.Repeat("n", 2048), "")}, func(r Record) bool {
			return len(r.QueryValues) == 1
		}},
		{"names that are the same once replaced are there once", Record{Headers: map[string]string{"\xff": "1", "\xfe": "2", "\ufffd": "3"}}, func(r Record) bool {
			return len(r.Headers) == 1
		}},
		{"there are 32 headers", Record{Headers: headers}, func(r Record) bool { return len(r.Headers) == 32 }},
		{"a rule has 2048 bytes", Record{Rule: strings.Repeat("r", 2049)}, func(r Record) bool { return len(r.Rule) == 2048 }},
		{"a caller has 2048 bytes", Record{Caller: strings.Repeat("c", 2049)}, func(r Record) bool { return len(r.Caller) == 2048 }},
		{"a checkpoint is whole or absent", Record{File: &File{Checkpoint: strings.Repeat("c", 17<<10)}}, func(r Record) bool { return r.File.Checkpoint == "" }},
		{"ranges are cut at the end", Record{Acknowledgement: &Acknowledgement{Missing: make([]Range, 200)}}, func(r Record) bool {
			return len(r.Acknowledgement.Missing) == 128
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.record.Kind = KindCall
			got, err := Parse(line(&c.record))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Cut || !c.ok(got) {
				t.Errorf("%s", line(&c.record))
			}
			if c.record.Cut {
				t.Error("the record of the caller was changed")
			}
		})
	}
}

func TestNoRecordMakesALineTooLong(t *testing.T) {
	long := rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat(rapid.SampledFrom([]string{"a", "\x01", "\xff", "é", "😀", `"`}).Draw(t, "character"), rapid.IntRange(0, 20000).Draw(t, "times"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		s := func() string { return long.Draw(rt, "text") }
		list := func() (out []string) {
			for range rapid.SampledFrom([]int{0, 1, 20, 300}).Draw(rt, "count") {
				out = append(out, s())
			}
			return out
		}
		r := &Record{N: 1<<64 - 1, Kind: Kind("k" + s()), ID: s(), Caller: s(), IdentifiedBy: s(), Certificate: s(), Operation: s(), Scheme: s(), Key: s(),
			Version: 1<<32 - 1, Environment: s(), Generation: 1<<64 - 1, Method: s(), Path: s(), QueryNames: list(), BodySHA256: s(), BodyBytes: -1 << 63,
			Decision: s(), Rule: s(), Shadow: list(), Unevaluated: list(), Needs: s(), Note: s(), Code: s(), Reason: s(), Headers: map[string]string{},
			QueryValues: map[string][]string{}}
		for _, name := range list() {
			r.QueryValues[name], r.Headers[name] = list(), s()
		}
		if rapid.Bool().Draw(rt, "parts") {
			r.File, r.Start, r.Outage = &File{s(), list(), s(), &Previous{1<<64 - 1, 1<<64 - 1, -1 << 63}}, &Start{Version: s()}, &Outage{Cause: s()}
			r.Acknowledgement, r.Retention = &Acknowledgement{s(), make([]Range, 1000), s()}, &Retention{1, list()}
		}
		got := line(r)
		if len(got)+1 > segment.MaxLineBytes {
			rt.Fatalf("the line has %d bytes", len(got)+1)
		}
		if _, err := Parse(got); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestWhatIsNoLineIsNotRead(t *testing.T) {
	good := string(line(callOfProduction()))
	for _, c := range []struct{ name, line string }{
		{"nothing", ""},
		{"another value", `[]`},
		{"a line without a number", `{"kind":"call"}`},
		{"a line that does not begin with its number", `{"kind":"call","n":1}`},
		{"a line without a kind", `{"n":1,"time":"2026-10-01T10:30:15.123456Z"}`},
		{"a number that is none", `{"n":"1","kind":"call"}`},
		{"a number with a leading zero", `{"n":01,"kind":"call"}`},
		{"a number that is too large", `{"n":18446744073709551616,"kind":"call"}`},
		{"an unknown name", strings.Replace(good, `"rule"`, `"ruled"`, 1)},
		{"an unknown name in a part", `{"n":1,"kind":"start","start":{"version":"1","more":1}}`},
		{"a name in capitals", strings.Replace(good, `"rule"`, `"Rule"`, 1)},
		{"a name with a sign that folds", strings.Replace(good, `"key"`, "\"\u212aey\"", 1)},
		{"a name twice", strings.Replace(good, `"rule"`, `"scheme":"noba","rule"`, 1)},
		{"a name twice, once escaped", strings.Replace(good, `"rule"`, `"\u006bind":"file","rule"`, 1)},
		{"the number twice", strings.Replace(good, `"rule"`, `"n":123456,"rule"`, 1)},
		{"a header twice", `{"n":1,"kind":"call","headers":{"A":"1","A":"2"}}`},
		{"a line with something after it", good + "x"},
		{"two lines in one", good + good},
		{"a torn line", good[:len(good)-1]},
		{"a line that is not UTF-8", strings.Replace(good, "payments", "pay\xffents", 1)},
		{"a line that is too long", strings.Replace(good, "{", "{"+strings.Repeat(" ", segment.MaxLineBytes), 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := Parse([]byte(c.line)); !errors.Is(err, ErrLine) {
				t.Errorf("%s was read as %+v, %v", c.line, r, err)
			}
		})
	}
}

func TestTheNumberIsReadFromTheBeginningOfALine(t *testing.T) {
	for _, c := range []struct {
		line string
		n    uint64
		ok   bool
	}{
		{`{"n":0,"kind"`, 0, true},
		{`{"n":18446744073709551615,`, 1<<64 - 1, true},
		{`{"n":18446744073709551616,`, 0, false},
		{`{"n":12`, 0, false}, {`{"n":,`, 0, false}, {`{"n":00,`, 0, false}, {`{"n":-1,`, 0, false}, {`{"n": 1,`, 0, false}, {`{"k":1,`, 0, false}, {"", 0, false},
	} {
		if n, ok := Number([]byte(c.line)); n != c.n || ok != c.ok {
			t.Errorf("%s: %d, %v", c.line, n, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(line(callOfProduction()))
	f.Add(line(&Record{Kind: KindFile, File: &File{Origin: "o", Edge: []string{"AA=="}, Checkpoint: "o\n1\n"}}))
	f.Add(line(&Record{N: 7, Kind: KindOutage, Outage: &Outage{Cause: "\u2028", Late: &Range{1, 2}}}))
	f.Add(line(&Record{N: 7, Kind: KindExcess, Excess: &Excess{Calls: 1}, QueryValues: map[string][]string{"\n": {"", "x"}, "n": nil}}))
	f.Add([]byte(`{"n":1,"kind":"a","headers":{"\ud800":""}, "path" : null, "query_names":[ ],"time":"2026-10-01T10:30:15+02:00"}`))
	f.Add([]byte(`{"n":1,"kind":"acknowledgement","acknowledgement":{"missing":[{"from":1,"until":2}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrLine) {
				t.Fatalf("%v is not ErrLine", err)
			}
			return
		}
		if n, ok := Number(text); !ok || n != r.N || !utf8.Valid(text) {
			t.Fatalf("%s was read, with number %d", text, n)
		}
		written := line(&r)
		again, err := Parse(written)
		if err != nil || len(written) >= segment.MaxLineBytes {
			t.Fatalf("%s was written as %s, which is not read: %v", text, written, err)
		}
		if third := line(&again); !bytes.Equal(third, written) {
			t.Fatalf("%s was written as %s and then as %s", text, written, third)
		}
	})
}

func BenchmarkALineOfACall(b *testing.B) {
	r := callOfProduction()
	out := line(r)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		out = r.appendTail(out[:0])
	}
}

func BenchmarkReadingALine(b *testing.B) {
	text := line(callOfProduction())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCallersCannotSteerWhoeverPrintsALine(t *testing.T) {
	r := &Record{Kind: KindCall, QueryNames: []string{"\u009b31m", "\x7f", "\u0085next", "\u202etxt.exe", "\u2067", "ä\u00a0"}}
	line := string(r.appendTail([]byte(`{"n":0`)))
	for _, c := range line {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			t.Errorf("the line has %U: %q", c, line)
		}
	}
	if got, err := Parse([]byte(line)); err != nil || !slices.Equal(got.QueryNames, r.QueryNames) {
		t.Errorf("it is read as %q, %v", got.QueryNames, err)
	}
}
