package requestgen

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// json makes an object or an array as JSON.stringify writes it, of about size bytes and never more than MaxBody.
func (g *Generator) json(size int) []byte {
	out := g.composite(nil, 3)
	if len(out) >= size {
		return out
	}
	out = append([]byte(`{"some":`), out...)
	out = append(out, `,"rest":[`...)
	for len(out) < size-1<<10 {
		out = append(g.value(out, 1), ',')
	}
	out = append(out, `""]}`...)
	if missing := min(size, MaxBody) - len(out); missing > 0 { // the last string fills it up
		out = append(out[:len(out)-len(`"]}`)], strings.Repeat("x", missing)+`"]}`...)
	}
	return out
}

func (g *Generator) composite(out []byte, depth int) []byte {
	if g.oneIn(4) {
		out = append(out, '[')
		for i := range g.rand.IntN(4) {
			if i > 0 {
				out = append(out, ',')
			}
			out = g.value(out, depth-1)
		}
		return append(out, ']')
	}
	out = append(out, '{')
	for i, name := range g.names() {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(quote(out, name), ':')
		out = g.value(out, depth-1)
	}
	return append(out, '}')
}

// names are different ones, those that look like an array's indexes first and in order.
func (g *Generator) names() []string {
	var names []string
	if g.oneIn(5) {
		indexes := []int{g.rand.IntN(10), 10 + g.rand.IntN(1000), 4294967294}
		for _, n := range indexes[:1+g.rand.IntN(3)] {
			names = append(names, strconv.Itoa(n))
		}
	}
	for range g.rand.IntN(4) {
		if name := g.string(); !slices.Contains(names, name) && strings.Trim(name, "0123456789") != "" {
			names = append(names, name)
		}
	}
	return names
}

func (g *Generator) value(out []byte, depth int) []byte {
	switch n := g.rand.IntN(8); {
	case n < 2 && depth > 0:
		return g.composite(out, depth)
	case n == 2:
		return append(out, pick(g, []string{"true", "false", "null"})...)
	case n < 5:
		return g.number(out)
	}
	return quote(out, g.string())
}

func (g *Generator) number(out []byte) []byte {
	switch g.rand.IntN(4) {
	case 0:
		return strconv.AppendInt(out, g.rand.Int64N(2000)-1000, 10)
	case 1: // an amount
		return ecmaNumber(out, float64(g.rand.IntN(1e9))/100)
	}
	for {
		if f := math.Float64frombits(g.rand.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return ecmaNumber(out, f)
		}
	}
}

// ecmaNumber writes a number as ECMAScript's Number::toString does.
func ecmaNumber(out []byte, f float64) []byte {
	switch a := math.Abs(f); {
	case a == 0:
		return append(out, '0')
	case a >= 1e-6 && a < 1e21:
		return strconv.AppendFloat(out, f, 'f', -1, 64)
	}
	return append(out, strings.Replace(strconv.FormatFloat(f, 'e', -1, 64), "e-0", "e-", 1)...)
}

func (g *Generator) string() string {
	var s strings.Builder
	for range g.rand.IntN(5) {
		switch g.rand.IntN(6) {
		case 0:
			s.WriteString(pick(g, []string{"ü", "é", "✓", "😀", "\u2028", "\ufffd", "\x7f", "\ufeff"}))
		case 1:
			s.WriteString(pick(g, []string{"\n", "\r\n", "\t", "\b", "\f", `"`, `\`, "/", "\x00", "\x1f", "<", "&", " "}))
		default:
			s.WriteString(g.text(1+g.rand.IntN(8), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"))
		}
	}
	return s.String()
}

// quote writes a string as JSON.stringify does.
func quote(out []byte, s string) []byte {
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte("\b\f\n\r\t\"\\", c) >= 0:
			out = append(out, '\\', "bfnrt\"\\"[strings.IndexByte("\b\f\n\r\t\"\\", c)])
		case c < 0x20:
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}
