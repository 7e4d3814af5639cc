package cli

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const longCompletion = `Print a script that makes a shell complete signerctl's commands and flags. It asks signerctl, never signerd.

For this shell alone:
  bash  source <(signerctl completion bash)    with the package bash-completion
  zsh   source <(signerctl completion zsh)     after "autoload -U compinit; compinit"
  fish  signerctl completion fish | source

For every new shell:
  bash  signerctl completion bash > ~/.local/share/bash-completion/completions/signerctl
  zsh   signerctl completion zsh > "${fpath[1]}/_signerctl"
  fish  signerctl completion fish > ~/.config/fish/completions/signerctl.fish`

// shells write their completion scripts.
var shells = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash": func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
}

// completionCommand stands in for cobra's own, which has another style of help and a shell that signerctl is not for.
func (a *app) completionCommand() *cobra.Command {
	cmd := command("completion bash|zsh|fish", "Print a shell's completion script", oneShell, func(cmd *cobra.Command, args []string) error {
		var script bytes.Buffer
		if err := shells[args[0]](cmd.Root(), &script); err != nil {
			return &failure{what: "writing the completion script", err: err}
		}
		return a.write(script.Bytes())
	})
	cmd.Long = longCompletion
	cmd.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"bash", "zsh", "fish"}, cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

func oneShell(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return &usageError{message: "the shell is missing: bash, zsh or fish"}
	case len(args) > 1:
		return &usageError{message: fmt.Sprintf("too many arguments: wanted 1, got %d", len(args))}
	case shells[args[0]] == nil:
		return &usageError{message: fmt.Sprintf("there is no completion for %q: wanted bash, zsh or fish", args[0])}
	}
	return nil
}

// completeChoices lets shells complete the values of every flag that has few, and file names for none but FILE.
func completeChoices(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		complete := cobra.NoFileCompletions
		switch v := f.Value.(type) {
		case *file:
			return
		case *choice:
			complete = cobra.FixedCompletions(v.allowed, cobra.ShellCompDirectiveNoFileComp)
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err)
		}
	})
	for _, child := range cmd.Commands() {
		completeChoices(child)
	}
}
