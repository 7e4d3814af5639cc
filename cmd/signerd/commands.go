package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/signerd/signerd/internal/recovery"
)

var errNoConfig = fmt.Errorf("%w: --config FILE is required", errUsage)

func restoreCommand(configFile *string, stdout io.Writer) *cobra.Command {
	var key string
	cmd := &cobra.Command{Use: "restore --config FILE [--recovery-key FILE] BACKUP", Short: "Make the store of a backup, where there is none",
		DisableFlagsInUseLine: true,
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
			return restore(cmd.Context(), *configFile, args[0], key, stdout)
		}}
	cmd.Flags().StringVar(&key, "recovery-key", "", "the `FILE` of the recovery key's private half, which opens the backup instead of the root key")
	return cmd
}

func recoverCommand(configFile *string, stdout io.Writer) *cobra.Command {
	var key string
	cmd := &cobra.Command{Use: "recover --config FILE --recovery-key FILE", Short: "Wrap the store with a new root key when the old one is lost",
		DisableFlagsInUseLine: true, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case *configFile == "":
				return errNoConfig
			case key == "":
				return fmt.Errorf("%w: --recovery-key FILE is required", errUsage)
			}
			return recoverStore(cmd.Context(), *configFile, key, stdout)
		}}
	cmd.Flags().StringVar(&key, "recovery-key", "", "the `FILE` of the recovery key's private half")
	return cmd
}

func recoveryKeyCommand() *cobra.Command {
	var private, public string
	create := &cobra.Command{Use: "new --private FILE --public FILE", Short: "Make a recovery key, whose private half stays offline",
		DisableFlagsInUseLine: true, Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if private == "" || public == "" {
				return fmt.Errorf("%w: --private FILE and --public FILE are required", errUsage)
			}
			return recovery.Create(private, public)
		}}
	create.Flags().StringVar(&private, "private", "", "the new `FILE` of the private half: keep it offline")
	create.Flags().StringVar(&public, "public", "", "the new `FILE` of the public half, for root_key.recovery_public_key")
	group := &cobra.Command{Use: "recovery-key", Short: "Make recovery keys", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	group.AddCommand(create)
	return group
}
