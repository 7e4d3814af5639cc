package noon

// SessionCookies is for the fuzz target, ParseCookieDate for the table of dates.
var (
	SessionCookies  = sessionCookies
	ParseCookieDate = parseCookieDate
)
