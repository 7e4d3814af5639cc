package noon

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAgeSeconds keeps a huge Max-Age from overflowing: ten years.
	maxAgeSeconds = 10 * 365 * 24 * 3600
	// unreadLife is how long a cookie counts whose Expires is no date. RFC 6265 would keep it without an end, but it
	// has one, which is not known: an hour costs a login now and then, and a dead cookie costs every caller a 401.
	unreadLife = time.Hour
)

// parseSetCookie reads a Set-Cookie line as browsers do (RFC 6265, section 5.2): net/http drops cookies that they keep.
// The value stays as it came, quotes included. Expires is what the line says, made absolute by sent; zero for no end.
// Without a name there is no cookie.
func parseSetCookie(line string, sent time.Time) (http.Cookie, bool) {
	pair, attributes, _ := strings.Cut(line, ";")
	name, value, found := strings.Cut(pair, "=")
	c := http.Cookie{Name: trim(name), Value: trim(value)}
	if !found || c.Name == "" {
		return http.Cookie{}, false
	}
	var expires, maxAge time.Time
	for attributes != "" {
		var attribute string
		attribute, attributes, _ = strings.Cut(attributes, ";")
		name, value, _ := strings.Cut(attribute, "=")
		value = trim(value)
		switch strings.ToLower(trim(name)) {
		case "expires":
			expires = expiresAt(value, sent)
		case "max-age":
			if seconds, ok := parseMaxAge(value); ok {
				maxAge = sent.Add(time.Duration(seconds) * time.Second)
			}
		case "domain":
			if value != "" {
				c.Domain = strings.ToLower(strings.TrimPrefix(value, "."))
			}
		case "path":
			c.Path = ""
			if strings.HasPrefix(value, "/") {
				c.Path = value
			}
		case "secure":
			c.Secure = true
		case "httponly":
			c.HttpOnly = true
		case "samesite":
			c.SameSite = sameSite[strings.ToLower(value)]
		}
	}
	c.Expires = expires
	if !maxAge.IsZero() {
		c.Expires = maxAge
	}
	return c, true
}

var sameSite = map[string]http.SameSite{"lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode, "none": http.SameSiteNoneMode}

// trim takes off what RFC 6265 calls WSP.
func trim(s string) string { return strings.Trim(s, " \t") }

// parseMaxAge is RFC 6265, section 5.2.2: zero and less delete.
func parseMaxAge(s string) (seconds int64, ok bool) {
	digits, negative := strings.CutPrefix(s, "-")
	if strings.Trim(digits, "0123456789") != "" || s == "" {
		return 0, false
	}
	if negative || digits == "" {
		return 0, true
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || seconds > maxAgeSeconds {
		return maxAgeSeconds, true
	}
	return seconds, true
}

func expiresAt(value string, sent time.Time) time.Time {
	if at, ok := parseCookieDate(value); ok {
		return at
	}
	return sent.Add(unreadLife)
}

// longAgo stands for the years that RFC 6265 does not know: some servers delete with the first day of the first year.
var longAgo = time.Unix(0, 0).UTC()

// parseCookieDate is RFC 6265, section 5.1.1, which finds a date in every form that servers have ever sent.
func parseCookieDate(s string) (time.Time, bool) {
	clock, day, year := [3]int{-1}, -1, -1
	var month time.Month
	for _, token := range strings.FieldsFunc(s, isDateDelimiter) {
		if clock[0] < 0 {
			if at, ok := parseClock(token); ok {
				clock = at
				continue
			}
		}
		if day < 0 {
			if n, ok := leadingNumber(token, 1, 2); ok {
				day = n
				continue
			}
		}
		if month == 0 {
			if month = monthOf(token); month != 0 {
				continue
			}
		}
		if year < 0 {
			if n, ok := leadingNumber(token, 2, 4); ok {
				year = n
			}
		}
	}
	switch {
	case year >= 70 && year <= 99:
		year += 1900
	case year >= 0 && year <= 69:
		year += 2000
	}
	if clock[0] < 0 || clock[0] > 23 || clock[1] > 59 || clock[2] > 59 || day < 1 || month == 0 || year < 0 {
		return time.Time{}, false
	}
	at := time.Date(year, month, day, clock[0], clock[1], clock[2], 0, time.UTC)
	if at.Day() != day { // no such day in the month
		return time.Time{}, false
	}
	if year < 1601 {
		return longAgo, true
	}
	return at, true
}

// isDateDelimiter is the delimiter of RFC 6265, section 5.1.1.
func isDateDelimiter(r rune) bool {
	return r == '\t' || r >= 0x20 && r <= 0x2f || r >= 0x3b && r <= 0x40 || r >= 0x5b && r <= 0x60 || r >= 0x7b && r <= 0x7e
}

// parseClock reads h:m:s of one or two digits each, and what is not a digit behind it.
func parseClock(token string) (at [3]int, ok bool) {
	parts := strings.SplitN(token, ":", 3)
	if len(parts) != 3 {
		return at, false
	}
	for i, part := range parts {
		if at[i], ok = leadingNumber(part, 1, 2); !ok || i < 2 && len(strings.Trim(part, "0123456789")) > 0 {
			return at, false
		}
	}
	return at, true
}

// leadingNumber reads a number of so many digits, and what is not a digit behind it.
func leadingNumber(token string, least, most int) (int, bool) {
	n := 0
	for n < len(token) && token[n] >= '0' && token[n] <= '9' {
		n++
	}
	if n < least || n > most {
		return 0, false
	}
	value, err := strconv.Atoi(token[:n])
	return value, err == nil
}

func monthOf(token string) time.Month {
	for m := time.January; m <= time.December; m++ {
		if len(token) >= 3 && strings.EqualFold(token[:3], m.String()[:3]) {
			return m
		}
	}
	return 0
}
