package doctor

import (
	"fmt"
	"net/http"
	"time"
)

// A difference up to exact is none: Date has whole seconds, and an answer takes its time. Up to tolerable a partner is sure to accept it.
const (
	exact     = 5 * time.Second
	tolerable = time.Minute
)

// tolerances is what each partner makes of clocks that differ.
var tolerances = map[string]string{
	"noah": "NOAH refuses a token whose iat is in the future, and one after its exp, 5 minutes after iat by default",
	"noba": "Noba refuses a timestamp that is more than 5 minutes from its clock",
	"noon": "how far the iat of a login may be off Noon's clock is not documented",
}

// clock compares this machine's clock with the partner's. at is the middle of the request, by this machine's clock.
func (w *Way) clock(date string, at time.Time) Finding {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return Finding{"clock", Skipped, "the partner does not say what time it is", ""}
	}
	// Date is cut to the second: on average half of one is missing.
	ahead := at.Sub(theirs.Add(500 * time.Millisecond)).Round(time.Second)
	// Abs and not -ahead: centuries away a difference is the smallest Duration, which has no opposite.
	off, direction := ahead.Abs().Truncate(time.Second), "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	if off <= exact {
		return Finding{"clock", OK, fmt.Sprintf("this machine and the partner differ by %s at most", exact), ""}
	}
	text := fmt.Sprintf("this machine's clock is %s %s the partner's", off, direction)
	if tolerance, ok := tolerances[w.Scheme]; ok {
		text += "; " + tolerance
	}
	result := Fault
	if off <= tolerable && (w.Scheme != "noah" || ahead < 0) {
		result = Note
	}
	return Finding{"clock", result, text, "let the clock follow NTP (chrony, systemd-timesyncd), on the machine where signerd runs above all: signatures have its time"}
}
