package cli

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompletionPrintsAScript(t *testing.T) {
	t.Chdir(t.TempDir()) // no signerd here, and none is needed
	for shell, has := range map[string]string{
		"bash": "complete -o default -F __start_signerctl signerctl",
		"zsh":  "#compdef signerctl\n",
		"fish": "complete -c signerctl ",
	} {
		r := run(t, "", "completion", shell)
		if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, has) {
			t.Errorf("%s: exit status %d, stderr %q, stdout of %d bytes has no %q", shell, r.code, r.stderr, len(r.stdout), has)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		check := exec.CommandContext(t.Context(), path, "-n")
		check.Stdin = strings.NewReader(r.stdout)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s does not read its script: %v\n%s", shell, err, out)
		}
	}
}

// What the scripts ask signerctl: each line a completion, then what the shell is to do beside.
func TestCompletions(t *testing.T) {
	t.Chdir(t.TempDir())
	const noFiles, files = ":4", ":0"
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"se", []string{"seal", "session", noFiles}},
		{"session ", []string{"noon", noFiles}},
		{"session noon ", []string{noFiles}},
		{"session noon robot -o ", []string{"headers", "json", "curl", noFiles}},
		{"session noon robot --rejected ", []string{noFiles}},
		{"key import robot --scheme ", []string{"noah", "noba", "noon", noFiles}},
		{"key import robot --credentials ", []string{files}},
		{"key import robot --cred", []string{"--credentials", noFiles}},
		{"key rotate robot --user", []string{"--user-agent", noFiles}},
		{"status --address ", []string{noFiles}},
		{"status --tls-cert ", []string{files}},
		{"policy ", []string{"apply", "explain", "get", "test", noFiles}},
		{"policy apply ", []string{files}},
		{"policy test rules.yaml ", []string{noFiles}},
		{"policy apply rules.yaml --sk", []string{"--skip-cases", noFiles}},
		{"policy get -o ", []string{"yaml", "json", noFiles}},
		{"policy explain --as ", []string{noFiles}},
		{"policy explain --body ", []string{files}},
		{"policy explain --env ", []string{"sandbox", "prod", noFiles}},
		{"policy explain --scheme ", []string{"noah", "noba", "noon", noFiles}},
		{"policy test --against-audit ", []string{noFiles}},
		{"audit ", []string{"acknowledge", "checkpoint", "find", "key", "show", "tail", "verify", noFiles}},
		{"audit show ", []string{noFiles}},
		{"audit tail --since ", []string{noFiles}},
		{"audit tail -n ", []string{noFiles}},
		{"audit tail -o ", []string{"text", "json", noFiles}},
		{"audit find --header ", []string{files}},
		{"audit verify --since ", []string{files}},
		{"audit verify --verifier-key ", []string{files}},
		{"audit verify --save ", []string{files}},
		{"completion ", []string{"bash", "zsh", "fish", noFiles}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			r := run(t, "", append([]string{"__completeNoDesc"}, strings.Split(tt.args, " ")...)...)
			got := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" || r.code != 0 {
				t.Errorf("exit status %d, completions (-want +got):\n%s", r.code, diff)
			}
		})
	}
}
