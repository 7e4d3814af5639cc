package noon

// SessionCookies is for the fuzz target.
var SessionCookies = sessionCookies
