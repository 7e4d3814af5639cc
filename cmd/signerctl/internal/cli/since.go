package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// moment is a flag that says a time: how long ago it was, or itself.
type moment struct {
	value string
	ago   time.Duration
	at    time.Time
}

func momentVar(flags *pflag.FlagSet, m *moment, name, usage string) { flags.Var(m, name, usage) }

var errMoment = errors.New("wanted how long ago, such as 15m, 24h or 7d, or a time, such as 2026-11-22T08:30:00Z")

// String implements pflag.Value.
func (m *moment) String() string { return m.value }

// Type implements pflag.Value.
func (*moment) Type() string { return "D|TIME" }

// Set implements pflag.Value.
func (m *moment) Set(s string) error {
	if at, err := time.Parse(time.RFC3339, s); err == nil && timestamppb.New(at).CheckValid() == nil {
		*m = moment{value: s, at: at}
		return nil
	}
	ago, err := parseAgo(s)
	if err != nil || ago <= 0 {
		return errMoment
	}
	*m = moment{value: s, ago: ago}
	return nil
}

// parseAgo is time.ParseDuration with days.
func parseAgo(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, err
	}
	ago := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return ago, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || ago+more < ago {
		return 0, errMoment
	}
	return ago + more, nil
}

func (m *moment) given() bool { return m.value != "" }

// timestamp is nil when the flag was not given.
func (m *moment) timestamp() *timestamppb.Timestamp {
	switch {
	case !m.given():
		return nil
	case m.ago > 0:
		return timestamppb.New(time.Now().Add(-m.ago))
	}
	return timestamppb.New(m.at)
}
