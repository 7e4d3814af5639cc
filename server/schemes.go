package server

import (
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// schemes is the scheme table: one line a partner.
var schemes = []upstream.Scheme{
	noah.Scheme{},
	noba.Scheme{},
}

// Schemes lists the partners that this program signs for; the keystore opens their keys.
func Schemes() []upstream.Scheme { return append([]upstream.Scheme(nil), schemes...) }
