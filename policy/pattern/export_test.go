package pattern

// AllowedNodes is how many nodes Allowed sees when visit takes all.
func (s *Set[T]) AllowedNodes(t Target, visit func(T) bool) int {
	return s.exact.match(t.canonical, strict, visit)
}

// DeniedNodes is how many nodes Denied sees when visit takes all.
func (s *Set[T]) DeniedNodes(t Target, visit func(T) bool) int {
	return s.folded.match(t.folded, broad, visit)
}

// MatchNodes is how many nodes Match sees when visit takes all.
func (c *Callers[T]) MatchNodes(id string, visit func(T) bool) int {
	return c.tree.match(id[len(spiffeRoot):], strict, visit)
}
