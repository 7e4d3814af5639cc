package capture

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// word is one argument of a shell command. Its variables stand in text as $NAME.
type word struct {
	text      string
	variables int
}

// shellReader splits one simple command as bash does: quotes, $'…', backslashes and continued lines. Nothing is expanded.
type shellReader struct {
	rest  string
	words []word
	now   strings.Builder
	in    bool // a word has begun, though it may be empty yet
	holds int  // so many variables
	ended string
}

// splitCommand gives a command's words, and the operator that ended it before the end of the text, such as "|".
func splitCommand(text string) ([]word, string, error) {
	r := &shellReader{rest: text}
	for r.rest != "" && r.ended == "" {
		if err := r.step(); err != nil {
			return nil, "", err
		}
	}
	r.endWord()
	return r.words, r.ended, nil
}

func (r *shellReader) endWord() {
	if r.in {
		r.words = append(r.words, word{r.now.String(), r.holds})
	}
	r.now.Reset()
	r.in, r.holds = false, 0
}

func (r *shellReader) put(s string) {
	r.now.WriteString(s)
	r.in = true
}

func (r *shellReader) step() error {
	c := r.rest[0]
	switch {
	case strings.HasPrefix(r.rest, "\\\n"):
		r.rest = r.rest[2:]
	case strings.HasPrefix(r.rest, "\\\r\n"):
		r.rest = r.rest[3:]
	case c == '\\':
		if len(r.rest) > 1 {
			r.put(r.rest[1:2])
		}
		r.rest = r.rest[min(2, len(r.rest)):]
	case c == ' ' || c == '\t' || c == '\r':
		r.endWord()
		r.rest = r.rest[1:]
	case c == '\n' && len(r.words) == 0 && !r.in:
		r.rest = r.rest[1:]
	case c == '\n':
		// What follows is another command, if anything does.
		if strings.TrimSpace(r.rest) != "" {
			r.ended = "\n"
		}
		r.rest = r.rest[1:]
		r.endWord()
	case c == '#' && !r.in:
		_, rest, _ := strings.Cut(r.rest, "\n")
		r.rest = "\n" + rest
	case strings.IndexByte("|&;<>()", c) >= 0:
		// The number of a redirection, as in 2>file, is no word.
		if (c == '<' || c == '>') && r.now.Len() == 1 && r.now.String() <= "9" && r.now.String() >= "0" {
			r.in = false
		}
		r.ended = string(c)
	case c == '\'':
		return r.single()
	case c == '"':
		return r.double()
	case strings.HasPrefix(r.rest, "$'"):
		return r.ansi()
	case strings.HasPrefix(r.rest, `$"`):
		r.rest = r.rest[1:]
	case c == '$' || c == '`':
		return r.expansion()
	default:
		r.put(r.rest[:1])
		r.rest = r.rest[1:]
	}
	return nil
}

var errQuote = errors.New("it holds a quotation mark that is not closed")

func (r *shellReader) single() error {
	text, rest, ok := strings.Cut(r.rest[1:], "'")
	if !ok {
		return errQuote
	}
	r.put(text)
	r.rest = rest
	return nil
}

func (r *shellReader) double() error {
	r.in = true
	for r.rest = r.rest[1:]; r.rest != ""; {
		switch c := r.rest[0]; {
		case c == '"':
			r.rest = r.rest[1:]
			return nil
		case strings.HasPrefix(r.rest, "\\\n"):
			r.rest = r.rest[2:]
		case c == '\\' && len(r.rest) > 1 && strings.IndexByte("$`\"\\", r.rest[1]) >= 0:
			r.put(r.rest[1:2])
			r.rest = r.rest[2:]
		case c == '$' || c == '`':
			if err := r.expansion(); err != nil {
				return err
			}
		default:
			r.put(r.rest[:1])
			r.rest = r.rest[1:]
		}
	}
	return errQuote
}

// expansion keeps $NAME and ${NAME} as written, and refuses what runs a command.
func (r *shellReader) expansion() error {
	if r.rest[0] == '`' || strings.HasPrefix(r.rest, "$(") {
		return errors.New("it holds a command in the command, as $(…) or `…`: write what that gives")
	}
	name := 1
	braces := strings.HasPrefix(r.rest, "${")
	if braces {
		name = 2
	}
	end := name
	for end < len(r.rest) && (r.rest[end] == '_' || r.rest[end]|0x20 >= 'a' && r.rest[end]|0x20 <= 'z' || r.rest[end] >= '0' && r.rest[end] <= '9') {
		end++
	}
	switch {
	case end == name && !braces: // a dollar sign alone is one
		r.put("$")
		r.rest = r.rest[1:]
		return nil
	case braces && (end == len(r.rest) || r.rest[end] != '}' || end == name):
		return errors.New("it holds an expansion of the shell that is not ${NAME}: write what that gives")
	}
	r.put("$" + r.rest[name:end])
	if r.holds++; braces {
		end++
	}
	r.rest = r.rest[end:]
	return nil
}

// ansiEscapes are the characters of $'…' that stand for one other.
var ansiEscapes = map[byte]string{'a': "\a", 'b': "\b", 'e': "\x1b", 'E': "\x1b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", '\\': "\\", '\'': "'", '"': `"`, '?': "?"}

// ansi reads $'…', which browsers write where a body has quotation marks or what is not ASCII.
func (r *shellReader) ansi() error {
	r.in = true
	for r.rest = r.rest[2:]; r.rest != ""; {
		c := r.rest[0]
		if c == '\'' {
			r.rest = r.rest[1:]
			return nil
		}
		if c != '\\' || len(r.rest) == 1 {
			r.put(r.rest[:1])
			r.rest = r.rest[1:]
			continue
		}
		e := r.rest[1]
		r.rest = r.rest[2:]
		switch {
		case ansiEscapes[e] != "":
			r.put(ansiEscapes[e])
		case e == 'x':
			if n, ok := r.digits(2, 16); ok {
				r.put(string([]byte{byte(n)}))
			} else {
				r.put(`\x`)
			}
		case e == 'u' || e == 'U':
			r.codePoint(e)
		case e >= '0' && e <= '7':
			r.rest = string(e) + r.rest
			n, _ := r.digits(3, 8)
			r.put(string([]byte{byte(n)}))
		case e == 'c':
			return errors.New(`it holds \c within $'…', which no body needs`)
		default:
			r.put(`\` + string([]byte{e}))
		}
	}
	return errQuote
}

// codePoint reads \u and \U. Browsers write a character beyond U+FFFF as two surrogates, which JSON readers join; bash does not.
func (r *shellReader) codePoint(e byte) {
	width := map[byte]int{'u': 4, 'U': 8}[e]
	n, ok := r.digits(width, 16)
	if !ok {
		r.put(`\` + string([]byte{e}))
		return
	}
	if n >= 0xd800 && n < 0xdc00 && strings.HasPrefix(r.rest, `\u`) {
		before := r.rest
		r.rest = r.rest[2:]
		if low, ok := r.digits(4, 16); ok && low >= 0xdc00 && low < 0xe000 {
			r.put(string(rune(0x10000 + (n-0xd800)<<10 + low - 0xdc00)))
			return
		}
		r.rest = before
	}
	r.put(string(utf8.AppendRune(nil, rune(n))))
}

// digits reads at most width digits.
func (r *shellReader) digits(width, base int) (uint32, bool) {
	end := 0
	for end < width && end < len(r.rest) {
		if _, err := strconv.ParseUint(r.rest[end:end+1], base, 8); err != nil {
			break
		}
		end++
	}
	n, err := strconv.ParseUint(r.rest[:end], base, 32)
	r.rest = r.rest[end:]
	return uint32(n), err == nil
}
