package jsonstringify

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A generator writes random JSON texts. In each text, only some of the ways to differ are open, so that every kind of
// difference also comes alone, and a fair share of the texts has none.
type generator struct {
	*rand.Rand
	b        strings.Builder
	spaces   bool
	escapes  bool
	numbers  bool
	repeats  bool
	disorder bool
}

func randomBody(rng *rand.Rand) string {
	g := generator{Rand: rng}
	switch rng.IntN(8) {
	case 0, 1:
	case 2:
		g.spaces = true
	case 3:
		g.escapes = true
	case 4:
		g.numbers = true
	case 5:
		g.repeats = true
	case 6:
		g.disorder = true
	case 7:
		g.spaces, g.escapes, g.numbers, g.repeats, g.disorder = true, true, true, true, true
	}
	g.space()
	if g.IntN(2) == 0 {
		g.object(4)
	} else {
		g.array(4)
	}
	g.space()
	return g.b.String()
}

// chance is true now and then when the way to differ is open.
func (g *generator) chance(open bool) bool { return open && g.IntN(4) == 0 }

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g *generator) space() {
	if g.chance(g.spaces) {
		g.b.WriteString(g.pick(" ", "\t", "\n", "\r", "  \r\n"))
	}
}

func (g *generator) value(depth int) {
	g.space()
	defer g.space()
	switch n := g.IntN(10); {
	case n < 2 && depth > 0:
		g.object(depth - 1)
	case n < 4 && depth > 0:
		g.array(depth - 1)
	case n < 6:
		g.b.WriteString(g.quoted(g.characters()))
	case n < 9:
		g.b.WriteString(g.number())
	default:
		g.b.WriteString(g.pick("true", "false", "null"))
	}
}

func (g *generator) array(depth int) {
	g.b.WriteByte('[')
	n := g.IntN(5)
	for i := range n {
		if i > 0 {
			g.b.WriteByte(',')
		}
		g.value(depth)
	}
	if n == 0 {
		g.space()
	}
	g.b.WriteByte(']')
}

// object writes an object whose names are all different, unless repeats are open, and with the array indices first and
// ascending, unless disorder is open.
func (g *generator) object(depth int) {
	var indices []int64
	var names [][]string
	for range g.IntN(3) {
		indices = append(indices, []int64{0, 1, 2, 9, 10, 11, 99, 100, 1<<31 - 1, 1 << 31, 1<<32 - 2, g.Int64N(1<<32 - 1)}[g.IntN(12)])
	}
	slices.Sort(indices)
	for _, index := range slices.Compact(indices) {
		names = append(names, strings.Split(strconv.FormatInt(index, 10), ""))
	}
	seen := make(map[string]bool)
	for range g.IntN(5) {
		name := g.characters()
		if g.IntN(3) == 0 {
			name = strings.Split(g.pick("4294967295", "4294967296", "9007199254740991", "00", "01", "-1", "-0", "1.5",
				"__proto__", "constructor", "toJSON", "length", "hasOwnProperty"), "")
		}
		key := strings.Join(name, "")
		_, isIndex := arrayIndex([]byte(key))
		if !seen[key] && !isIndex {
			seen[key] = true
			names = append(names, name)
		}
	}
	if g.disorder && g.IntN(2) == 0 {
		g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	}
	if g.chance(g.repeats) && len(names) > 0 {
		at := g.IntN(len(names))
		if g.disorder {
			names = append(names, names[at])
		} else {
			names = slices.Insert(names, at, names[at])
		}
	}
	g.b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			g.b.WriteByte(',')
		}
		g.space()
		g.b.WriteString(g.quoted(name))
		g.space()
		g.b.WriteByte(':')
		g.value(depth)
	}
	if len(names) == 0 {
		g.space()
	}
	g.b.WriteByte('}')
}

// characters returns a random string, each character as JSON.stringify writes it. No lone high surrogate comes before
// a low one: they would be one character.
func (g *generator) characters() []string {
	var chars []string
	for range g.IntN(6) {
		c := g.pick("a", "b", "Z", "1", "0", " ", "/", "'", `\"`, `\\`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`, `\u001b`, `\u000b`,
			"\x7f", "\u0080", "é", "\u2028", "\u2029", "€", "\ufeff", "\ufffd", "\uffff", "😀", "\U0010ffff",
			`\ud800`, `\udbff`, `\udc00`, `\ud83d`, `\ude00`)
		if n := len(chars); n > 0 && isLow(c) && isHigh(chars[n-1]) {
			continue
		}
		chars = append(chars, c)
	}
	return chars
}

func isHigh(c string) bool { return len(c) == 6 && c[:3] == `\ud` && c[3] >= '8' && c[3] <= 'b' }

func isLow(c string) bool { return len(c) == 6 && c[:3] == `\ud` && c[3] >= 'c' }

func (g *generator) quoted(chars []string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range chars {
		if g.chance(g.escapes) {
			c = g.escaped(c)
		}
		b.WriteString(c)
	}
	b.WriteByte('"')
	return b.String()
}

// escaped returns another way to write a character, or the same by chance.
func (g *generator) escaped(c string) string {
	if c == "/" && g.IntN(2) == 0 {
		return `\/`
	}
	if strings.HasPrefix(c, `\u`) {
		return `\u` + strings.ToUpper(c[2:])
	}
	var char string
	if err := json.Unmarshal([]byte(`"`+c+`"`), &char); err != nil {
		panic(err)
	}
	format := g.pick(`\u%04x`, `\u%04X`)
	r, _ := utf8.DecodeRuneInString(char)
	if r > 0xFFFF {
		return fmt.Sprintf(format+format, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
	}
	return fmt.Sprintf(format, r)
}

// number returns a number as JSON.stringify writes it or, when that is open, any other.
func (g *generator) number() string {
	if g.chance(g.numbers) {
		if g.IntN(2) == 0 {
			return g.pick("-0", "-0.0", "0e0", "0.0", "1.0", "1e2", "1E2", "1e21", "1E+21", "1e-07", "1e400", "-1E400", "1e-400", "5e-325",
				"2.4703282292062327e-324", "2.4703282292062328e-324", "4.940656458412465e-324", "1.7976931348623158e+308", "1.7976931348623159e308",
				"9007199254740993", "123456789012345678901", "1000000000000000000000", "0.0000001", "0.1000000000000000055",
				"2.2250738585072011e-308", "9.5367431640625e-7", "100000000000000008192", "5e-0", "10e-1")
		}
		return g.anyNumber()
	}
	var f float64
	switch g.IntN(7) {
	case 0:
		f = float64(g.Int64N(2000) - 1000)
	case 1:
		f = float64(g.Int64() - g.Int64())
	case 2:
		f = math.Float64frombits(g.Uint64())
	case 3:
		f = float64(g.Int64N(1_000_000)) / 1000
	case 4: // around the bounds between the forms
		f = []float64{1e21, 1e-6, 1 << 53, 1e15, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e20, 1e22, 1e-7, 1e23}[g.IntN(10)]
		if g.IntN(2) == 0 {
			f = math.Nextafter(f, 0)
		}
	case 5: // subnormal, and a little above
		f = math.Float64frombits(g.Uint64() >> (11 + g.IntN(52)))
	case 6:
		f = g.NormFloat64() * math.Pow(10, float64(g.IntN(50)-20))
	}
	if f == 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return "0"
	}
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// anyNumber returns a number in a form that follows JSON's grammar alone.
func (g *generator) anyNumber() string {
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(byte('0' + g.IntN(10)))
		}
		return b.String()
	}
	text := g.pick("", "-") + g.pick("0", strconv.Itoa(1+g.IntN(9))+digits(g.IntN(25)))
	if g.IntN(2) == 0 {
		text += "." + digits(1+g.IntN(25))
	}
	if g.IntN(2) == 0 {
		text += g.pick("e", "E") + g.pick("", "-", "+") + digits(1+g.IntN(3))
	}
	return text
}
