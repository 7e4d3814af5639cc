package noon

// SessionCookies is for the fuzz target, ParseCookieDate for the table of dates.
var (
	SessionCookies  = sessionCookies
	ParseCookieDate = parseCookieDate
)

// Another is a credential that logs in as c, and counts as another's: n takes the place of its key's fingerprint. The
// account at the partner stays the same, unless project is given.
func Another(c *Credential, n byte, project string) *Credential {
	other := *c.credential
	other.fingerprint[0], other.material[0] = n, n
	if project != "" {
		other.projectCode = project
	}
	return &Credential{&other}
}

// Remembered is how many credentials and accounts the limits know.
func (b *Broker) Remembered() int {
	b.limits.mu.Lock()
	defer b.limits.mu.Unlock()
	return len(b.limits.budgets) + len(b.limits.backOffs)
}
