// Package doctor looks for what keeps a partner from accepting requests: the key at signerd, and the way to the partner from this machine.
//
// It is for `signerctl doctor`. It changes nothing, sends no signature, and no finding holds a secret or a cookie.
package doctor

// Result is how a check ended.
type Result string

// The results.
const (
	// OK is for what is as it should be.
	OK Result = "ok"
	// Note is for what works, and is worth knowing.
	Note Result = "note"
	// Skipped is for what could not be looked at because of another finding, or does not apply.
	Skipped Result = "skipped"
	// Fault is for what somebody must do something about.
	Fault Result = "fault"
)

// Finding is what one check found.
type Finding struct {
	// Check names what was looked at, such as "tls".
	Check string `json:"check"`
	// Result is how it ended.
	Result Result `json:"result"`
	// Text says what is so, in plain words.
	Text string `json:"text"`
	// Advice says what to do about it; empty where nothing needs to be done.
	Advice string `json:"advice,omitempty"`
}

// Faults is how many findings somebody must do something about.
func Faults(findings []Finding) int {
	n := 0
	for _, f := range findings {
		if f.Result == Fault {
			n++
		}
	}
	return n
}
