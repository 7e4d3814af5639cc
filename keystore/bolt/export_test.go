package bolt

// OnStep has each step of Compact told before it is done. It fails with what step returns.
func (s *Store) OnStep(step func(string) error) { s.onStep = step }
