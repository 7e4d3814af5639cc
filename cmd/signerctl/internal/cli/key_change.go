package cli

import (
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func (a *app) keyActivate() *cobra.Command {
	var version *uint32
	var generation *uint64
	var output *choice
	var apiKey, sealed file
	var expires *expiry
	var withoutLogin *bool
	use := "activate NAME --version N [--api-key FILE | --sealed FILE] [--expires TIME] [--without-login] [--generation N]"
	cmd := command(use, "Make a version the one that signs", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		if apiKey.given() && sealed.given() {
			return &usageError{message: "--sealed holds the API key: no --api-key goes with it"}
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		req := &adminv1.ActivateKeyVersionRequest{Name: args[0], Version: *version, Generation: *generation, ExpireTime: expires.message(),
			SkipLogin: *withoutLogin}
		switch {
		case apiKey.given():
			s, err := a.readSecret(&apiKey)
			if err != nil {
				return err
			}
			req.ApiKey = s.Reveal()
		case sealed.given():
			if req.Sealed, err = a.readSealed(&sealed); err != nil {
				return err
			}
		}
		resp, err := adminv1.NewKeyServiceClient(conn).ActivateKeyVersion(cmd.Context(), req)
		if err != nil {
			return &failure{what: fmt.Sprintf("activating version %d of key %s", *version, args[0]), key: args[0], err: err, hints: unprovenHints}
		}
		a.tell("note", resp.GetNotes()...)
		if !resp.GetKey().GetEnabled() {
			a.tell("note", "the key itself is disabled: `signerctl key enable "+args[0]+"` lets it sign")
		}
		if *withoutLogin {
			a.tell("note", "no login has proven it: `signerctl session noon "+args[0]+"` tells whether the partner takes it")
		}
		return a.print(output, resp, func(w io.Writer) {
			if resp.GetLoggedIn() {
				_, _ = fmt.Fprintf(w, "Version %d of key %s has logged in at the partner.\n", *version, args[0])
			}
			_, _ = fmt.Fprintf(w, "Version %d of key %s is active (generation %d).\n", *version, args[0], resp.GetKey().GetGeneration())
		})
	})
	cmd.Long = longActivate
	version = cmd.Flags().Uint32("version", 0, "version `N`")
	require(cmd, "version")
	fileVar(cmd.Flags(), &apiKey, "api-key", "the API key that the partner gave for a pending version")
	fileVar(cmd.Flags(), &sealed, "sealed", "the same, as \"signerctl seal\" made it for a ticket of \"signerctl import-ticket NAME --version N\"")
	expires = expiresFlag(cmd)
	withoutLogin = cmd.Flags().Bool("without-login", false, "do not prove the version by a login first (noon)")
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

const longActivate = `Make a version the one that signs, from the next request on.

A Noon version first logs in at the partner, and becomes active only if the partner took it: otherwise nothing changes. Callers get
that login's session next. --without-login activates it all the same, on record.

An earlier version is activated in the same way, as long as it is ENABLED.

A FILE of "-" is standard input.`

// unprovenHints are for a version whose login failed, and which is not active therefore.
var unprovenHints = map[string]string{
	"UPSTREAM_REJECTED_CREDENTIAL": "the version that was active still is. See in the partner's console whether this one's key is there and active; it may be tried again {wait}",
	"UPSTREAM_UNAVAILABLE":         "the version that was active still is. The partner is down, slow or out of signerd's reach; try again {wait}, or see --without-login",
	"RATE_LIMITED":                 "nothing has changed; try again {wait}",
	"FROZEN":                       "no login is sent while all signing is stopped, and nothing has changed; `signerctl unfreeze`, or see --without-login",
}

// changed is what the answers to changes have in common.
type changed interface {
	proto.Message
	GetKey() *adminv1.Key
}

// keySwitch makes `key enable` and `key disable`.
func (a *app) keySwitch(on bool) *cobra.Command {
	verb, doing, short := "disable", "disabling", "Stop a key, or one of its versions, from signing"
	if on {
		verb, doing, short = "enable", "enabling", "Let a key, or one of its versions, sign again"
	}
	var version *uint32
	var generation *uint64
	var output *choice
	cmd := command(verb+" NAME [--version N] [--generation N]", short, positional("NAME"), func(cmd *cobra.Command, args []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		client := adminv1.NewKeyServiceClient(conn)
		subject := "key " + args[0]
		var resp changed
		if !cmd.Flags().Changed("version") {
			resp, err = switchKey(cmd, client, on, args[0], *generation)
		} else {
			subject = fmt.Sprintf("version %d of key %s", *version, args[0])
			resp, err = switchVersion(cmd, client, on, args[0], *version, *generation)
		}
		if err != nil {
			return &failure{what: doing + " " + subject, key: args[0], err: err}
		}
		if !on && *version != 0 && resp.GetKey().GetActiveVersion() == *version {
			a.tell("note", "it is the active version: requests are refused until it is enabled or another is activated")
		}
		return a.print(output, resp, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "%s is %s (generation %d).\n", strings.ToUpper(subject[:1])+subject[1:], switchName(on), resp.GetKey().GetGeneration())
		})
	})
	version = cmd.Flags().Uint32("version", 0, "version `N` (default: the whole key)")
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func switchKey(cmd *cobra.Command, client adminv1.KeyServiceClient, on bool, name string, generation uint64) (changed, error) {
	if on {
		return client.EnableKey(cmd.Context(), &adminv1.EnableKeyRequest{Name: name, Generation: generation})
	}
	return client.DisableKey(cmd.Context(), &adminv1.DisableKeyRequest{Name: name, Generation: generation})
}

func switchVersion(cmd *cobra.Command, client adminv1.KeyServiceClient, on bool, name string, version uint32, generation uint64) (changed, error) {
	if on {
		return client.EnableKeyVersion(cmd.Context(), &adminv1.EnableKeyVersionRequest{Name: name, Version: version, Generation: generation})
	}
	return client.DisableKeyVersion(cmd.Context(), &adminv1.DisableKeyVersionRequest{Name: name, Version: version, Generation: generation})
}

func (a *app) keyLabel() *cobra.Command {
	var generation *uint64
	var output *choice
	cmd := command("label NAME K=V|K- ... [--generation N]", "Set labels, or remove them with K-", nil, func(cmd *cobra.Command, args []string) error {
		set, removed, err := parseLabelChanges(args[1:])
		if err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		client := adminv1.NewKeyServiceClient(conn)
		failed := func(err error) error {
			return &failure{what: "labelling key " + args[0], key: args[0], err: err}
		}
		old, err := client.GetKey(cmd.Context(), &adminv1.GetKeyRequest{Name: args[0]})
		if err != nil {
			return failed(err)
		}
		labels := make(map[string]string)
		maps.Copy(labels, old.GetKey().GetLabels())
		maps.Copy(labels, set)
		for _, name := range removed {
			delete(labels, name)
		}
		// The whole set is replaced: without the generation that was read, another's change would be lost.
		precondition := old.GetKey().GetGeneration()
		if *generation != 0 {
			precondition = *generation
		}
		resp, err := client.UpdateKey(cmd.Context(), &adminv1.UpdateKeyRequest{Name: args[0], Labels: labels, Generation: precondition})
		if err != nil {
			return failed(err)
		}
		return a.print(output, resp, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Key %s has the labels %s (generation %d).\n", args[0], plain(formatLabels(resp.GetKey().GetLabels())), resp.GetKey().GetGeneration())
		})
	})
	cmd.Args = func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return &usageError{message: "NAME is missing"}
		case 1:
			return &usageError{message: "a label K=V or K- is missing"}
		}
		return checkText(args)
	}
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// parseLabelChanges tells K=V from K-.
func parseLabelChanges(args []string) (set map[string]string, removed []string, err error) {
	var pairs []string
	for _, arg := range args {
		if name, ok := strings.CutSuffix(arg, "-"); ok && !strings.Contains(arg, "=") {
			removed = append(removed, name)
		} else {
			pairs = append(pairs, arg)
		}
	}
	set, err = parseLabels(pairs)
	for _, name := range removed {
		if _, ok := set[name]; ok && err == nil {
			err = &usageError{message: fmt.Sprintf("the label %q is both set and removed", name)}
		}
	}
	return set, removed, err
}
