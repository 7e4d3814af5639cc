package server

import (
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
	"github.com/signerd/signerd/upstream/noon"
)

// Schemes is the scheme table, one line a partner; the keystore opens their keys. gateways say where Noon keys may log in.
func Schemes(gateways noon.Destinations) []upstream.Scheme {
	return []upstream.Scheme{
		noah.Scheme{},
		noba.Scheme{},
		noon.Scheme{Destinations: gateways},
	}
}
