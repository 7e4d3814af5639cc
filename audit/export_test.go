package audit

// ReadEdge reads the edge in a record of kind file.
var ReadEdge = readEdge

// SetMaxUnsynced is for tests.
func SetMaxUnsynced(n int) (before int) {
	before, maxUnsynced = maxUnsynced, n
	return before
}
