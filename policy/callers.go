package policy

import (
	"strings"

	"github.com/signerd/signerd/policy/pattern"
)

// callers are the callers that a rule names.
type callers struct {
	any      bool
	exact    map[Caller]struct{}
	patterns []pattern.SPIFFE
}

func (c callers) has(caller Caller) bool {
	if c.any && caller != (Caller{}) {
		return true
	}
	if _, ok := c.exact[caller]; ok {
		return true
	}
	for _, p := range c.patterns {
		if p.Matches(caller.id) {
			return true
		}
	}
	return false
}

// parseCallers reads a list of callers and patterns; item is the one that err is about.
func parseCallers(list []string) (out callers, item int, err error) {
	out.exact = make(map[Caller]struct{})
	for i, text := range list {
		switch {
		case text == Any:
			out.any = true
		case strings.HasPrefix(text, spiffePrefix) && strings.Contains(text, "*"):
			p, err := pattern.ParseSPIFFE(text)
			if err != nil {
				return out, i, err
			}
			out.patterns = append(out.patterns, p)
		default:
			caller, err := ParseCaller(text)
			if err != nil {
				return out, i, err
			}
			out.exact[caller] = struct{}{}
		}
	}
	return out, -1, nil
}
