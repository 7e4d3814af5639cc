package pattern

import "strings"

// Set finds the patterns that match a target without looking at each. The zero value is empty and ready. Add all, then
// ask from any number of goroutines; Add must not run beside anything else.
//
// A lookup costs some nodes for each of the target's segments, however many patterns there are. Only patterns that
// agree with the target so far, over their wildcards, are followed; no node is seen twice, so that even the worst set
// costs no more than its patterns' segments together. Lookups do not allocate unless a target agrees with many at once.
type Set[T any] struct {
	exact, folded tree[T]
	anything      []T // of the lone **
	all           []T
}

// Add adds p, which stands for value. The same pattern may be added with several values.
func (s *Set[T]) Add(p Path, value T) {
	s.all = append(s.all, value)
	switch p.text {
	case "":
		s.folded.add(rest, value)
	case everything:
		s.anything = append(s.anything, value)
		s.exact.add(rest, value)
		s.folded.add(rest, value)
	default:
		s.exact.add(p.text, value)
		s.folded.add(p.folded, value)
	}
}

// Allowed calls visit for each value whose pattern allows t, in no particular order, until visit returns false.
func (s *Set[T]) Allowed(t Target, visit func(T) bool) {
	if t.Ambiguous() {
		visitAll(s.anything, visit)
		return
	}
	s.exact.match(t.canonical, strict, visit)
}

// Denied calls visit for each value whose pattern denies t, in no particular order, until visit returns false. Those
// are all values when t is ambiguous.
func (s *Set[T]) Denied(t Target, visit func(T) bool) {
	if t.Ambiguous() {
		visitAll(s.all, visit)
		return
	}
	s.folded.match(t.folded, broad, visit)
}

// Callers is what Set is, for patterns of SPIFFE IDs.
type Callers[T any] struct{ tree tree[T] }

// Add adds p, which stands for value. The same pattern may be added with several values.
func (c *Callers[T]) Add(p SPIFFE, value T) {
	if p.text != "" {
		c.tree.add(p.text[len(spiffeRoot):], value)
	}
}

// Match calls visit for each value whose pattern matches id, in no particular order, until visit returns false. What
// id may be is said at SPIFFE.Matches.
func (c *Callers[T]) Match(id string, visit func(T) bool) {
	if strings.HasPrefix(id, spiffeScheme) {
		c.tree.match(id[len(spiffeRoot):], strict, visit)
	}
}

// tree holds patterns by their segments.
type tree[T any] struct{ root node[T] }

// node stands for the segments on the way to it.
type node[T any] struct {
	literal map[string]*node[T]
	one     *node[T] // behind a *
	ends    []T      // of patterns that end here
	rest    []T      // of patterns that go on with **
}

func (t *tree[T]) add(pattern string, value T) {
	n := &t.root
	for pattern != "" && pattern != rest {
		var segment string
		segment, pattern = cut(pattern)
		n = n.child(segment)
	}
	if pattern == rest {
		n.rest = append(n.rest, value)
	} else {
		n.ends = append(n.ends, value)
	}
}

func (n *node[T]) child(segment string) *node[T] {
	if segment == one {
		if n.one == nil {
			n.one = new(node[T])
		}
		return n.one
	}
	if n.literal[segment] == nil {
		if n.literal == nil {
			n.literal = make(map[string]*node[T])
		}
		n.literal[segment] = new(node[T])
	}
	return n.literal[segment]
}

// match does what matches does, for all patterns of the tree at once, and returns how many nodes it saw. It goes down
// by level, so that a segment is cut once for all nodes that wait for it.
func (t *tree[T]) match(path string, r reach, visit func(T) bool) (seen int) {
	var buffers [2][16]*node[T]
	level, next := append(buffers[0][:0], &t.root), buffers[1][:0]
	for depth := 0; len(level) > 0; depth++ {
		seen += len(level)
		restMatches := r.takes(path, depth)
		for _, n := range level {
			if restMatches && !visitAll(n.rest, visit) || path == "" && !visitAll(n.ends, visit) {
				return seen
			}
		}
		if path == "" {
			return seen
		}
		var segment string
		segment, path = cut(path)
		next = next[:0]
		for _, n := range level {
			// No pattern has longer segments; hashing one for each node would let a request choose the price.
			if len(segment) <= MaxBytes {
				if child := n.literal[segment]; child != nil {
					next = append(next, child)
				}
			}
			if n.one != nil && segment != "" {
				next = append(next, n.one)
			}
		}
		level, next = next, level
	}
	return seen
}

// visitAll reports whether visit wants more.
func visitAll[T any](values []T, visit func(T) bool) bool {
	for _, v := range values {
		if !visit(v) {
			return false
		}
	}
	return true
}
