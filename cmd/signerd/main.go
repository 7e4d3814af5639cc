// Command signerd holds partners' credentials and signs requests with them, over gRPC.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/signerd/signerd/internal/version"
)

// gcPercent collects garbage less often than Go does by default: the heap is small, and requests make most of it.
const gcPercent = 250

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// The first signal drains; the second ends the process as usual.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitError = 1
	exitUsage = 2
)

// errUsage marks errors in how the command was typed.
var errUsage = errors.New("usage")

// run is main without the process: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := command(stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(stderr, "signerd: %v\nhint: signerd --help\n", err)
		return exitUsage
	default:
		_, _ = fmt.Fprintf(stderr, "signerd: %v\n", err)
		return exitError
	}
}

func command(stdout, stderr io.Writer) *cobra.Command {
	var configFile string
	root := &cobra.Command{
		Use:   "signerd --config FILE",
		Short: "Holds partners' credentials and signs requests with them",
		Long: `signerd holds partners' credentials and signs requests with them.

  signerd init --config FILE    makes the root key and the empty store, once
  signerd --config FILE         serves
  signerd check --config FILE   says what is wrong with a configuration, without serving
  signerd restore --config FILE BACKUP
                                makes the store of a backup, where there is none
  signerd recover --config FILE --recovery-key FILE --verifier-key FILE
                                wraps the store with a new root key when the old one is lost
  signerd recovery-key new --private FILE --public FILE
                                makes a recovery key
  signerd dev                   serves on one machine with nothing to prepare; not for production keys`,
		Args: noArguments, SilenceErrors: true, SilenceUsage: true, Version: version.Version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if configFile == "" {
				return fmt.Errorf("%w: --config FILE is required (or `signerd dev` to try signerd out)", errUsage)
			}
			return serve(cmd.Context(), configFile, stderr)
		},
	}
	withConfig := func(use, short string, do func(context.Context, string, io.Writer) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: noArguments,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if configFile == "" {
					return fmt.Errorf("%w: --config FILE is required", errUsage)
				}
				return do(cmd.Context(), configFile, stdout)
			}}
	}
	var dir string
	dev := &cobra.Command{Use: "dev", Short: "Serve on one machine with nothing to prepare; not for production keys", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if configFile != "" {
				return fmt.Errorf("%w: dev takes no --config; it makes its own", errUsage)
			}
			return serveDev(cmd.Context(), dir, stdout, stderr)
		}}
	dev.Flags().StringVar(&dir, "dir", "./.signerd", "`DIR` for the root key, the store and the socket")
	root.PersistentFlags().StringVar(&configFile, "config", "", "the configuration `FILE`")
	root.AddCommand(
		withConfig("init", "Make the root key and the empty store, once", initialize),
		rootKeyCommand(stdout),
		withConfig("check", "Say what is wrong with a configuration, without serving", check),
		restoreCommand(&configFile, stdout),
		recoverCommand(&configFile, stdout),
		recoveryKeyCommand(stdout),
		dev,
	)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	return root
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unknown command or argument %q", errUsage, args[0])
	}
	return nil
}
