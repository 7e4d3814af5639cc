package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/signerd/signerd/internal/diagnosis"
)

// explanation is what is printed of a request: nothing of its API key, its signature or its body.
type explanation struct {
	Partner string    `json:"partner"`
	Key     string    `json:"key"`
	Version uint32    `json:"version"` // that made the signature; 0 where none did, or it could not be told
	Finding []finding `json:"findings"`
	Checked []string  `json:"checked"`
}

type finding struct {
	Cause  diagnosis.Cause `json:"cause"`
	Text   string          `json:"text"`
	Advice string          `json:"advice"`
}

func (a *app) writeReport(output *choice, e explanation) error {
	var b bytes.Buffer
	if output.value == formatJSON {
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(e); err != nil {
			return &failure{what: "writing the output", err: err}
		}
		return a.write(b.Bytes())
	}
	for i, f := range e.Finding {
		if i == 1 {
			_, _ = fmt.Fprintln(&b, "\nFound as well:")
		}
		_, _ = fmt.Fprintf(&b, "%s\n  what to do: %s\n", plain(f.Text), plain(f.Advice))
	}
	if len(e.Finding) == 0 {
		b.WriteString(nothingWrong)
	}
	b.WriteString("\nChecked:\n")
	for _, line := range e.Checked {
		_, _ = fmt.Fprintf(&b, "  %s\n", plain(line))
	}
	return a.write(b.Bytes())
}

const nothingWrong = `Nothing is wrong with the request: what was sent is what was signed, with the key's own material.
If the partner refuses it all the same, look at:
  - the API key at the partner: is it still in force, and may it do this call?
  - the address the request came from: does the partner allow it?
  - the clock of the machine that signs, against the Date header of the partner's answer
  - the public key at the partner (NOAH): is it the one that "signerctl key public" prints?
  - numbers and booleans in queryParams (NOAH): does it want them as strings?
  - what is on the way: a proxy may change a request after it was captured
`

// minHidden is how much of a secret, from its beginning, is taken for it.
const minHidden = 12

// hide takes a secret out of a text, also one that is cut off: its last 4 characters stay where it is there as a whole.
func hide(text, secret string) string {
	if len(secret) < 6 {
		return text
	}
	start := secret[:min(minHidden, len(secret))]
	var out []byte
	for i := 0; i < len(text); {
		if len(text)-i < len(start) || text[i:i+len(start)] != start {
			out = append(out, text[i])
			i++
			continue
		}
		n := len(start)
		for n < len(secret) && i+n < len(text) && text[i+n] == secret[n] {
			n++
		}
		out = append(out, "…"...)
		if n == len(secret) && n >= 2*minHidden {
			out = append(out, secret[n-4:]...)
		}
		i += n
	}
	return string(out)
}
