package limit

// request is what one request takes from a bucket. The unit is chosen so that a rate of one thousandth of a request
// a second gives back exactly one unit a nanosecond: all sums are whole numbers, and nothing is ever rounded off.
const request int64 = 1e12

// bucket bounds requests per second with a burst: the generic cell rate algorithm, kept as what is owed.
type bucket struct {
	debt int64 // taken and not yet earned again, in units
	at   int64 // when debt was true, on the account's clock
	rate int64 // units a nanosecond, which is thousandths of a request a second
}

// settle brings the debt to now.
func (b *bucket) settle(now int64) {
	if b.debt > 0 {
		// Compared by division, because the product of a long time may not fit.
		if gone := now - b.at; gone > b.debt/b.rate {
			b.debt = 0
		} else {
			b.debt -= gone * b.rate
		}
	}
	b.at = now
}

// wait is how many nanoseconds after now there is room for a request. The time until now was earned at the rate
// before, if it was another. A debt from before is cut to the burst of now: else one that was run up under a high
// rate could bar a caller for years under a low one.
func (b *bucket) wait(r Rates, now int64) int64 {
	b.settle(now)
	b.rate = max(1, r.rate())
	room := int64(r.burst()) * request
	b.debt = min(b.debt, room)
	over := b.debt + request - room
	if over <= 0 {
		return 0
	}
	return (over + b.rate - 1) / b.rate
}

// take takes one request, which wait has just found room for.
func (b *bucket) take() { b.debt += request }
