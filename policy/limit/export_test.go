package limit

// Callers is how many callers m remembers.
func (m *Meter) Callers() int {
	n := 0
	m.accounts.Range(func(any, any) bool { n++; return true })
	return n
}

// SweepDuring sweeps a caller's account away, idle or not, while f runs.
func (m *Meter) SweepDuring(caller string, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, _ := m.accounts.Load(caller)
	a := v.(*account)
	for m.hand.next != a {
		m.hand = m.hand.next
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	m.close(a)
}
