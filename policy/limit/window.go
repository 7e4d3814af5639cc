package limit

import "time"

// Windows are cut into steps: more make them finer, and cost 16 bytes each for a caller that is always busy.
const (
	hour      = int64(time.Hour)
	hourSteps = 60
	day       = 24 * hour
	daySteps  = 96
)

// window counts requests of the last length nanoseconds: those at now-length are out. Requests less than a step after
// the first of their span share its count, and leave with its last: so it may count one for up to a step too long,
// and never for less than length.
type window struct {
	length, step int64
	total        int64
	first        int64  // when the newest span began
	spans        []span // a ring: n of them from oldest on
	oldest, n    int
}

type span struct {
	last  int64 // when its last request came
	count int64
}

func newWindow(length, steps int64) *window { return &window{length: length, step: length / steps} }

func (w *window) at(i int) *span { return &w.spans[(w.oldest+i)%len(w.spans)] }

// forget lets go of what has left the window at now.
func (w *window) forget(now int64) {
	for w.n > 0 && w.at(0).last+w.length <= now {
		w.total -= w.at(0).count
		w.oldest = (w.oldest + 1) % len(w.spans)
		w.n--
	}
}

// wait is how many nanoseconds after now there is room for a request. The limit is at least 1; it may have been
// larger before.
func (w *window) wait(limit, now int64) int64 {
	w.forget(now)
	leaving := w.total - limit + 1
	if leaving <= 0 {
		return 0
	}
	for i := 0; ; i++ {
		s := w.at(i)
		if leaving -= s.count; leaving <= 0 {
			return s.last + w.length - now
		}
	}
}

// take counts one request at now, which wait has just found room for.
func (w *window) take(now int64) {
	w.total++
	if w.n > 0 && now-w.first < w.step {
		s := w.at(w.n - 1)
		s.last = now
		s.count++
		return
	}
	if w.n == len(w.spans) {
		w.grow()
	}
	w.first = now
	w.n++
	*w.at(w.n - 1) = span{last: now, count: 1}
}

// grow makes room for another span. There are never more than steps and one: spans begin at least a step apart, and
// all that are left began less than length and a step ago.
func (w *window) grow() {
	spans := make([]span, min(max(2, 2*len(w.spans)), int(w.length/w.step)+1))
	for i := range w.n {
		spans[i] = *w.at(i)
	}
	w.spans, w.oldest = spans, 0
}
