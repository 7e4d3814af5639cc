package server

import "sync/atomic"

// gate is what signatures leave through. Whoever hands one out is counted first, then looks whether all is frozen, and is counted
// until the answer is with its connection. Freeze has the freeze in force first, and then waits for those who are counted: they may
// not have seen it. Whoever is counted later sees it. Signing takes no lock here.
type gate struct {
	now     atomic.Pointer[crowd]
	waiting chan struct{} // holds who waits, one after another
}

// crowd counts the answers that began to leave between two freezes.
type crowd struct {
	// leaving also counts one for the gate, until it waits for the others.
	leaving atomic.Int64
	gone    atomic.Bool   // left is closed
	left    chan struct{} // closed once the gate waits and nobody is counted
}

func newGate() *gate {
	g := &gate{waiting: make(chan struct{}, 1)}
	g.now.Store(newCrowd())
	return g
}

func newCrowd() *crowd {
	c := &crowd{left: make(chan struct{})}
	c.leaving.Store(1)
	return c
}

// enter counts one more answer, until it leaves the crowd that is returned.
func (g *gate) enter() *crowd {
	for {
		c := g.now.Load()
		c.leaving.Add(1)
		if g.now.Load() == c {
			return c
		}
		// Somebody waits for that crowd already, and may have seen it empty.
		c.leave()
	}
}

// leave counts one less; nobody, without a crowd. It may come to nothing more than once: some are counted for a moment after all have left.
func (c *crowd) leave() {
	if c != nil && c.leaving.Add(-1) == 0 && c.gone.CompareAndSwap(false, true) {
		close(c.left)
	}
}

// wait returns when every answer that was counted before has left. Answers wait for their records, which are given up after
// audit.timeout, and for being encoded; gRPC takes the one message of an answer without waiting for whoever reads it.
func (g *gate) wait() {
	// One at a time: whoever comes second waits for the first one's crowd as well.
	g.waiting <- struct{}{}
	defer func() { <-g.waiting }()
	c := g.now.Swap(newCrowd())
	c.leave()
	<-c.left
}
