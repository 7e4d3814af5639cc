package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/signerd/signerd/internal/confine"
	"github.com/signerd/signerd/internal/recovery"
)

var errNoConfig = fmt.Errorf("%w: --config FILE is required", errUsage)

func restoreCommand(configFile *string, stdout io.Writer) *cobra.Command {
	r := restoring{stdout: stdout}
	cmd := &cobra.Command{Use: "restore --config FILE [--recovery-key FILE] [--verifier-key FILE | --unverified] [--frozen] BACKUP",
		Short: "Make the store of a backup, where there is none", DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%w: wanted one BACKUP, got %d", errUsage, len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if *configFile == "" {
				return errNoConfig
			}
			if err := r.check(); err != nil {
				return err
			}
			return restore(cmd.Context(), *configFile, args[0], r)
		}}
	r.flags(cmd, "the `FILE` of the recovery key's private half, which opens the backup instead of the root key")
	cmd.Flags().BoolVar(&r.frozen, "frozen", false, "all signing is stopped in the restored store, until signerctl unfreeze")
	return cmd
}

func recoverCommand(configFile *string, stdout io.Writer) *cobra.Command {
	var r recovering
	cmd := &cobra.Command{Use: "recover --config FILE --recovery-key FILE (--verifier-key FILE | --unverified)",
		Short: "Wrap the store with a new root key when the old one is lost", DisableFlagsInUseLine: true, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case *configFile == "":
				return errNoConfig
			case r.recoveryKey == "":
				return fmt.Errorf("%w: --recovery-key FILE is required", errUsage)
			}
			if err := r.check(); err != nil {
				return err
			}
			return recoverStore(cmd.Context(), *configFile, r, stdout)
		}}
	r.flags(cmd, "the `FILE` of the recovery key's private half")
	return cmd
}

func (r *recovering) flags(cmd *cobra.Command, recoveryKey string) {
	cmd.Flags().StringVar(&r.recoveryKey, "recovery-key", "", recoveryKey)
	cmd.Flags().StringVar(&r.verifierKey, "verifier-key", "", "a `FILE` with what signerctl audit key printed: shows which store it is")
	cmd.Flags().BoolVar(&r.unverified, "unverified", false, "without a verifier key: whoever has the recovery key's public half could have made it")
}

// check refuses flags that do not go together.
func (r *recovering) check() error {
	switch {
	case r.unverified && (r.verifierKey != "" || r.recoveryKey == ""):
		return fmt.Errorf("%w: --unverified is for --recovery-key without --verifier-key", errUsage)
	case r.recoveryKey != "" && r.verifierKey == "" && !r.unverified:
		return fmt.Errorf("%w: --recovery-key also needs --verifier-key FILE, with what `signerctl audit key` printed: whoever has the public half could have made what it opens; without one at all, --unverified", errUsage)
	}
	return nil
}

func recoveryKeyCommand(stdout io.Writer) *cobra.Command {
	var private, public string
	create := &cobra.Command{Use: "new --private FILE --public FILE", Short: "Make a recovery key, whose private half stays offline",
		DisableFlagsInUseLine: true, Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if private == "" || public == "" {
				return fmt.Errorf("%w: --private FILE and --public FILE are required", errUsage)
			}
			if err := confine.HideMemory(); err != nil {
				return err
			}
			return makeRecoveryKey(private, public, stdout)
		}}
	create.Flags().StringVar(&private, "private", "", "the new `FILE` of the private half: keep it offline")
	create.Flags().StringVar(&public, "public", "", "the new `FILE` of the public half, for root_key.recovery_public_key")
	group := &cobra.Command{Use: "recovery-key", Short: "Make recovery keys", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	group.AddCommand(create)
	return group
}

// makeRecoveryKey is `signerd recovery-key new`.
func makeRecoveryKey(private, public string, stdout io.Writer) error {
	if err := recovery.Create(private, public); err != nil {
		return err
	}
	key, err := recovery.OpenPublic(public)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, `made the recovery key %s
next: name %s as root_key.recovery_public_key, restart signerd, and see that signerctl status prints this id
keep with %s, where neither store nor backups are: what signerctl audit key > FILE prints. signerd recover and restore need it,
for whoever has the public half can make a store that the private one opens
`, key.ID(), public, private)
	return nil
}
