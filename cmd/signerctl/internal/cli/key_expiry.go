package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longExpiry = `Say when the partner will no longer take a version, such as the end of a NOAH API key.

"signerctl status", "key show" and a metric warn of it from 30 days before. The version signs all the same, also afterwards.`

func (a *app) keyExpiry() *cobra.Command {
	var version *uint32
	var generation *uint64
	var at *string
	var none *bool
	var output *choice
	cmd := command("expiry NAME --version N --at TIME|--none [--generation N]", "Say when a version expires at the partner", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		if *none == (*at != "") {
			return &usageError{message: "one of --at and --none is needed"}
		}
		req := &adminv1.UpdateKeyVersionRequest{Name: args[0], Version: *version, Generation: *generation}
		if *at != "" {
			ends, err := parseExpiry(*at)
			if err != nil {
				return &usageError{message: fmt.Sprintf("--at %q is %s", *at, err)}
			}
			req.ExpireTime = timestamppb.New(ends)
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewKeyServiceClient(conn).UpdateKeyVersion(cmd.Context(), req)
		if err != nil {
			return &failure{what: fmt.Sprintf("setting the expiry of version %d of key %s", *version, args[0]), key: args[0], err: err}
		}
		return a.print(output, resp, func(w io.Writer) {
			expiry := "has no expiry date"
			if v := findVersion(resp.GetKey(), *version); v.GetExpireTime() != nil {
				expiry = "expires at " + formatTime(v.GetExpireTime())
			}
			_, _ = fmt.Fprintf(w, "Version %d of key %s %s (generation %d).\n", *version, args[0], expiry, resp.GetKey().GetGeneration())
		})
	})
	cmd.Long = longExpiry
	version = cmd.Flags().Uint32("version", 0, "version `N`")
	require(cmd, "version")
	at = cmd.Flags().String("at", "", "the `TIME`, such as 2027-01-31, whose beginning counts, or 2027-01-31T12:00:00Z")
	none = cmd.Flags().Bool("none", false, "take the date away")
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// parseExpiry reads a day, in UTC, or a time.
func parseExpiry(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errExpiry
}

var errExpiry = errors.New("neither a day such as 2027-01-31 nor a time such as 2027-01-31T12:00:00Z")

// expiry is the flag --expires of what brings a partner's secrets.
type expiry struct {
	text string
	at   time.Time
}

func expiresFlag(cmd *cobra.Command) *expiry {
	e := new(expiry)
	cmd.Flags().Var(e, "expires", "when the partner will no longer take it, such as 2027-01-31, whose beginning counts, or 2027-01-31T12:00:00Z")
	return e
}

// String implements pflag.Value.
func (e *expiry) String() string { return e.text }

// Type implements pflag.Value.
func (*expiry) Type() string { return "TIME" }

// Set implements pflag.Value.
func (e *expiry) Set(s string) error {
	at, err := parseExpiry(s)
	if err != nil {
		return fmt.Errorf("it is %w", err)
	}
	e.text, e.at = s, at
	return nil
}

func (e *expiry) given() bool { return e.text != "" }

// message is nil where nobody said.
func (e *expiry) message() *timestamppb.Timestamp {
	if !e.given() {
		return nil
	}
	return timestamppb.New(e.at)
}
