// Package cli is signerctl: what an operator types becomes gRPC calls to signerd, and the answers become text.
//
// It knows signerd by its protocol alone: it never opens a store, and holds secrets only on their way into a request.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const longHelp = `Signerctl operates signerd, the service that holds partner credentials and signs requests with them.

signerd is found by --address, then $SIGNERD_ADDRESS, then ./.signerd/signerd.sock, where "signerd dev" listens:
  unix:///run/signerd/admin.sock   a Unix socket by its absolute path
  unix:.signerd/signerd.sock       a Unix socket by its relative path
  signer.internal:8443             TLS 1.3 with --tls-cert, --tls-key and --tls-ca

Secrets come from files, or from standard input where the file is "-"; never from an argument or the environment.
Errors go to standard error with a hint. The exit status is 0, 1 for a failure, or 2 for a wrong command line.

"signerctl completion bash", zsh or fish prints what makes that shell complete commands and flags.`

// app is one run of signerctl.
type app struct {
	stdin  io.Reader
	stdout *output
	stderr io.Writer

	// The global flags.
	address                string
	tlsCert, tlsKey, tlsCA file
	timeout                time.Duration
}

// Main runs signerctl with args, which do not hold the program's name, and returns its exit status.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &output{to: stdout}
	a := &app{stdin: stdin, stdout: out, stderr: stderr}
	root := a.rootCommand()
	// cobra reads os.Args when it is given nil.
	root.SetArgs(append([]string{}, args...))
	root.SetOut(out)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.err != nil {
		err = &failure{what: "writing the output", err: out.err}
	}
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[*failure](err); ok {
		f.report(stderr)
		return 1
	}
	reportUsage(stderr, cmd, err)
	return 2
}

func (a *app) rootCommand() *cobra.Command {
	root := group("signerctl", "Operate signerd",
		a.keyCommand(), a.policyCommand(), a.signCommand(), a.sessionCommand(), a.auditCommand(), a.backupCommand(), a.rootKeyCommand(), a.importTicketCommand(), a.sealCommand(), a.freezeCommand(), a.unfreezeCommand(), a.statusCommand(), a.sandboxCommand(), a.doctorCommand(), a.versionCommand(),
		a.completionCommand(), a.explainCommand())
	root.Long = longHelp
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentPreRunE = a.checkGlobal
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// With a mistyped command its flags are unknown too; the command is what to tell.
		if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
			return unknownCommand(cmd, cmd.Flags().Args())
		}
		return err
	})
	// The groups' own usage line says COMMAND already.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "\n  {{.CommandPath}} [command]", "", 1))
	flags := root.PersistentFlags()
	flags.StringVar(&a.address, "address", "", "the `ADDRESS` signerd listens at: unix:///path, unix:path or host:port (default $SIGNERD_ADDRESS)")
	fileVar(flags, &a.tlsCert, "tls-cert", "client certificate chain for host:port, PEM")
	fileVar(flags, &a.tlsKey, "tls-key", "private key of the client certificate, PEM")
	fileVar(flags, &a.tlsCA, "tls-ca", "certificates of the authorities that signerd's own certificate may come from, PEM")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to wait for each answer")
	completeChoices(root)
	return root
}

// checkGlobal finds what is wrong with the command line as a whole, before anything is read or sent.
func (a *app) checkGlobal(cmd *cobra.Command, _ []string) error {
	if a.address == "" && cmd.Flags().Changed("address") {
		return &usageError{message: "--address is empty"}
	}
	if a.timeout <= 0 {
		return &usageError{message: "--timeout must be more than 0"}
	}
	var fromStdin []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*file); ok && v.isStdin() {
			fromStdin = append(fromStdin, "--"+f.Name)
		}
	})
	if len(fromStdin) > 1 {
		return &usageError{message: strings.Join(fromStdin, " and ") + " both ask for standard input, which can be read once"}
	}
	return nil
}

// group makes a command that only holds others.
func group(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:                        name + " COMMAND",
		Short:                      short,
		DisableFlagsInUseLine:      true,
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// unknownCommand refuses what follows a group and is none of its commands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("`%s --help` lists the commands", cmd.CommandPath())
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = fmt.Sprintf("did you mean `%s %s`?", cmd.CommandPath(), similar[0])
	}
	return &usageError{message: fmt.Sprintf("unknown command %q", args[0]), hint: hint}
}

// command makes a command that does something. Use is its whole synopsis, without the flags every command has.
func command(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, DisableFlagsInUseLine: true, Args: args, RunE: run,
		ValidArgsFunction: cobra.NoFileCompletions}
}

// positional wants exactly the named arguments.
func positional(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return &usageError{message: names[len(args)] + " is missing"}
		case len(args) > len(names):
			// The surplus is not repeated: it may be a secret, typed where its file belongs.
			return &usageError{message: fmt.Sprintf("too many arguments: wanted %d, got %d", len(names), len(args))}
		}
		return checkText(args)
	}
}

// checkText refuses what no gRPC message can carry.
func checkText(args []string) error {
	for _, arg := range args {
		if !utf8.ValidString(arg) {
			return &usageError{message: fmt.Sprintf("the argument %q is not UTF-8", arg)}
		}
	}
	return nil
}

// require marks flags that a command cannot do without.
func require(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}
