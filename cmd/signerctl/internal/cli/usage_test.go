package cli

import (
	"strings"
	"testing"
)

const (
	usageActivate   = "usage: signerctl key activate NAME --version N [--api-key FILE | --sealed FILE] [--expires TIME] [--without-login] [--generation N]\n"
	usageImport     = "usage: signerctl key import NAME --scheme noah|noba|noon --env sandbox|prod FILES [--expires TIME] [--label K=V ...]\n"
	usageTicket     = "usage: signerctl import-ticket NAME --scheme noah|noba|noon --env sandbox|prod | --new-version | --version N [--ttl 1h] [-o text|json]\nhint: `signerctl import-ticket --help` tells more\n"
	usageLabel      = "usage: signerctl key label NAME K=V|K- ... [--generation N]\n"
	usageNoah       = "usage: signerctl sign noah NAME METHOD PATH [--query K=V|K:=JSON ...] [--body FILE] [--ttl 5m] [-o headers|json|curl]\n"
	usageNoon       = "usage: signerctl session noon NAME [--rejected ID] [-o headers|json|curl]\n"
	usageCompletion = "usage: signerctl completion bash|zsh|fish\nhint: `signerctl completion --help` tells more\n"
	usageApply      = "usage: signerctl policy apply FILE [--generation N | --force] [--skip-cases] [--allow-lockout]\nhint: `signerctl policy apply --help` tells more\n"
	usageExplain    = "usage: signerctl policy explain --as CALLER --key NAME METHOD PATH [--query K=V|K:=JSON ...] [--body FILE] [--operation OP] [--env sandbox|prod [--scheme noah|noba|noon] [--label K=V ...]] [--all]\n"
	usageTail       = "usage: signerctl audit tail [--follow] [--caller C] [--key K] [--operation OP] [--denied] [--since D|TIME] [-n N] [-o text|json]\nhint: `signerctl audit tail --help` tells more\n"
	usageRotate     = "usage: signerctl key rotate NAME [FILES] [--expires TIME] [--alg ES384|ES256] [--generation N]\n"
)

func TestUsageErrors(t *testing.T) {
	// Nothing of this reaches signerd, or standard input.
	f := serve(t, nil)
	for _, tt := range []struct{ args, want string }{
		{"kye list --env x", "signerctl: unknown command \"kye\"\nusage: signerctl COMMAND\nhint: did you mean `signerctl key`?\n"},
		{"key lst", "signerctl: key: unknown command \"lst\"\nusage: signerctl key COMMAND\nhint: did you mean `signerctl key list`?\n"},
		{"key frobnicate", "signerctl: key: unknown command \"frobnicate\"\nusage: signerctl key COMMAND\nhint: `signerctl key --help` lists the commands\n"},
		{"sign noon x", "signerctl: sign: unknown command \"noon\"\nusage: signerctl sign COMMAND\nhint: did you mean `signerctl sign noah`?\n"},
		{"--bogus", "signerctl: unknown flag: --bogus\nusage: signerctl COMMAND\nhint: `signerctl --help` tells more\n"},
		{"status --timeout 0s", "signerctl: status: --timeout must be more than 0\nusage: signerctl status\nhint: `signerctl status --help` tells more\n"},
		{"status extra", "signerctl: status: too many arguments: wanted 0, got 1\nusage: signerctl status\nhint: `signerctl status --help` tells more\n"},
		{"status -o yaml", "signerctl: status: invalid argument \"yaml\" for \"-o, --output\" flag: wanted text or json\nusage: signerctl status\nhint: `signerctl status --help` tells more\n"},
		{"key activate orders", "signerctl: key activate: required flag(s) \"version\" not set\n" + usageActivate + "hint: `signerctl key activate --help` tells more\n"},
		{"key activate --version 1", "signerctl: key activate: NAME is missing\n" + usageActivate + "hint: `signerctl key activate --help` tells more\n"},
		{"key activate orders --version 1 --api-key ", "signerctl: key activate: invalid argument \"\" for \"--api-key\" flag: wanted the name of a file, or -\n" + usageActivate + "hint: `signerctl key activate --help` tells more\n"},
		{"key import orders --scheme noba --env prod --api-key - --secret -", "signerctl: key import: --api-key and --secret both ask for standard input, which can be read once\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noba --env prod", "signerctl: key import: what the partner handed out is missing: --private-key and --api-key for noah, --api-key and --secret for noba, --credentials for noon\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noba --env prod --api-key - --label x", "signerctl: key import: the label \"x\" is not of the form K=V\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noba --env staging", "signerctl: key import: invalid argument \"staging\" for \"--env\" flag: wanted sandbox or prod\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key rotate orders --alg ES256 --secret -", "signerctl: key rotate: --alg is for a pair that signerd makes, not for files\n" + usageRotate + "hint: `signerctl key rotate --help` tells more\n"},
		{"key import orders --scheme noba --env prod --credentials - --base-url https://x", "signerctl: key import: --credentials and --base-url: for --scheme noon alone\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noah --env prod --user-agent x", "signerctl: key import: --user-agent: for --scheme noon alone\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noon --env prod --user-agent x", "signerctl: key import: what the partner handed out is missing: --private-key and --api-key for noah, --api-key and --secret for noba, --credentials for noon\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noon --env prod --secret - --user-agent x", "signerctl: key import: without --credentials there is no use for --user-agent\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key import orders --scheme noon --env prod --credentials - --user-agent ", "signerctl: key import: invalid argument \"\" for \"--user-agent\" flag: it is empty\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key rotate orders --user-agent x --base-url https://x", "signerctl: key rotate: without --credentials there is no use for --user-agent and --base-url\n" + usageRotate + "hint: `signerctl key rotate --help` tells more\n"},
		{"key rotate orders --credentials - --alg ES256", "signerctl: key rotate: --alg is for a pair that signerd makes, not for files\n" + usageRotate + "hint: `signerctl key rotate --help` tells more\n"},
		{"key activate orders --version 1 --api-key - --sealed x", "signerctl: key activate: --sealed holds the API key: no --api-key goes with it\n" + usageActivate + "hint: `signerctl key activate --help` tells more\n"},
		{"key activate orders --version 1 --expires soon", "signerctl: key activate: invalid argument \"soon\" for \"--expires\" flag: it is neither a day such as 2027-01-31 nor a time such as 2027-01-31T12:00:00Z\n" + usageActivate + "hint: `signerctl key activate --help` tells more\n"},
		{"key import orders --scheme noba --env prod --sealed x --secret -", "signerctl: key import: --sealed holds all that the partner handed out: no other file goes with it\n" + usageImport + "hint: `signerctl key import --help` tells more\n"},
		{"key rotate orders --sealed x --base-url https://x", "signerctl: key rotate: --sealed holds all that the partner handed out: no other file goes with it\n" + usageRotate + "hint: `signerctl key rotate --help` tells more\n"},
		{"key rotate orders --sealed x --alg ES256", "signerctl: key rotate: --alg is for a pair that signerd makes, not for files\n" + usageRotate + "hint: `signerctl key rotate --help` tells more\n"},
		{"key rotate orders --expires 2027-01-31", "signerctl: key rotate: --expires is for files; a pair that signerd makes gets its date with the API key: `signerctl key activate --expires`\n" + usageRotate + "hint: `signerctl key rotate --help` tells more\n"},
		{"import-ticket orders", "signerctl: import-ticket: what the ticket is for is missing: --scheme and --env for a new key, or --new-version, or --version N for an API key\n" + usageTicket},
		{"import-ticket orders --env prod", "signerctl: import-ticket: what the ticket is for is missing: --scheme and --env for a new key, or --new-version, or --version N for an API key\n" + usageTicket},
		{"import-ticket orders --version 0", "signerctl: import-ticket: --version counts from 1\n" + usageTicket},
		{"import-ticket orders --version 1 --new-version", "signerctl: import-ticket: --new-version and --version exclude each other: the one is for all secrets of a version, the other for its API key\n" + usageTicket},
		{"key label orders", "signerctl: key label: a label K=V or K- is missing\n" + usageLabel + "hint: `signerctl key label --help` tells more\n"},
		{"key label orders a=1 a=2", "signerctl: key label: the label \"a\" is given twice\n" + usageLabel + "hint: `signerctl key label --help` tells more\n"},
		{"key label orders a=1 a-", "signerctl: key label: the label \"a\" is both set and removed\n" + usageLabel + "hint: `signerctl key label --help` tells more\n"},
		{"key public orders --format pem -o json", "signerctl: key public: --format does not go with -o json, which holds both\nusage: signerctl key public NAME [--version N] [--format pem|jwk]\nhint: `signerctl key public --help` tells more\n"},
		{"session noon", "signerctl: session noon: NAME is missing\n" + usageNoon + "hint: `signerctl session noon --help` tells more\n"},
		{"session noon robot --rejected ", "signerctl: session noon: invalid argument \"\" for \"--rejected\" flag: it is empty\n" + usageNoon + "hint: `signerctl session noon --help` tells more\n"},
		{"session noon robot --rejected \xff", "signerctl: session noon: the argument \"\\xff\" is not UTF-8\n" + usageNoon + "hint: `signerctl session noon --help` tells more\n"},
		{"policy aply", "signerctl: policy: unknown command \"aply\"\nusage: signerctl policy COMMAND\nhint: did you mean `signerctl policy apply`?\n"},
		{"policy apply", "signerctl: policy apply: FILE is missing\n" + usageApply},
		{"policy apply ", "signerctl: policy apply: FILE is empty\n" + usageApply},
		{"policy apply a b", "signerctl: policy apply: too many arguments: wanted 1, got 2\n" + usageApply},
		{"policy apply - --generation 7 --force", "signerctl: policy apply: --generation and --force exclude each other\n" + usageApply},
		{"policy apply - --generation -1", "signerctl: policy apply: invalid argument \"-1\" for \"--generation\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax\n" + usageApply},
		{"policy apply - --tls-key -", "signerctl: policy apply: FILE and --tls-key both ask for standard input, which can be read once\n" + usageApply},
		{"policy test", "signerctl: policy test: FILE is missing\nusage: signerctl policy test FILE [--against-audit D|TIME]\nhint: `signerctl policy test --help` tells more\n"},
		{"policy explain --key a GET /", "signerctl: policy explain: required flag(s) \"as\" not set\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 GET /", "signerctl: policy explain: --key is missing, or --operation for one that concerns no key\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 --key a GET", "signerctl: policy explain: PATH is missing\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as \xff --key a", "signerctl: policy explain: the argument \"\\xff\" is not UTF-8\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 --key a GET / --query x", "signerctl: policy explain: --query \"x\" is neither K=V nor K:=JSON\n" + usageExplain + "hint: K=V gives a string, K:=20 a number, K:=true a boolean, K:='[1,2]' a list\n"},
		{"policy explain --as unix:uid=1 --key a GET / --scheme noah", "signerctl: policy explain: --scheme and --label describe a key, and need its --env as well\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 --key a GET / --label a=b", "signerctl: policy explain: --scheme and --label describe a key, and need its --env as well\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 --key a GET / --env prod --label a", "signerctl: policy explain: the label \"a\" is not of the form K=V\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 --operation ListKeys --env prod", "signerctl: policy explain: --env describes a key, and needs its name: --key is missing\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy explain --as unix:uid=1 --key a --env staging", "signerctl: policy explain: invalid argument \"staging\" for \"--env\" flag: wanted sandbox or prod\n" + usageExplain + "hint: `signerctl policy explain --help` tells more\n"},
		{"policy test - --against-audit 7w", "signerctl: policy test: invalid argument \"7w\" for \"--against-audit\" flag: " + errMoment.Error() + "\nusage: signerctl policy test FILE [--against-audit D|TIME]\nhint: `signerctl policy test --help` tells more\n"},
		{"audit tial", "signerctl: audit: unknown command \"tial\"\nusage: signerctl audit COMMAND\nhint: did you mean `signerctl audit tail`?\n"},
		{"audit tail --since soon", "signerctl: audit tail: invalid argument \"soon\" for \"--since\" flag: " + errMoment.Error() + "\n" + usageTail},
		{"audit tail -n 10001", "signerctl: audit tail: -n is at most 10000, or 0 for all\n" + usageTail},
		{"audit tail --key \xff", "signerctl: audit tail: the argument \"\\xff\" is not UTF-8\n" + usageTail},
		{"audit show", "signerctl: audit show: RECORD_ID is missing\nusage: signerctl audit show RECORD_ID [--proof] [-o text|json]\nhint: `signerctl audit show --help` tells more\n"},
		{"audit show x --proof -o text", "signerctl: audit show: --proof gives JSON, and does not go with -o text\nusage: signerctl audit show RECORD_ID [--proof] [-o text|json]\nhint: `signerctl audit show --help` tells more\n"},
		{"audit find", "signerctl: audit find: required flag(s) \"header\" not set\nusage: signerctl audit find --header FILE [-n N] [-o text|json]\nhint: `signerctl audit find --help` tells more\n"},
		{"audit find --header - -n 10001", "signerctl: audit find: -n is at most 10000, or 0 for all\nusage: signerctl audit find --header FILE [-n N] [-o text|json]\nhint: `signerctl audit find --help` tells more\n"},
		{"audit verify --since - --verifier-key -", "signerctl: audit verify: --since and --verifier-key both ask for standard input, which can be read once\nusage: signerctl audit verify [--since FILE] [--verifier-key FILE] [--save FILE] [-o text|json]\nhint: `signerctl audit verify --help` tells more\n"},
		{"audit verify --save -", "signerctl: audit verify: --save wants the name of a file\nusage: signerctl audit verify [--since FILE] [--verifier-key FILE] [--save FILE] [-o text|json]\nhint: `signerctl audit checkpoint` prints one\n"},
		{"audit acknowledge", "signerctl: audit acknowledge: required flag(s) \"note\" not set\nusage: signerctl audit acknowledge --note TEXT\nhint: `signerctl audit acknowledge --help` tells more\n"},
		{"audit acknowledge --note \xff", "signerctl: audit acknowledge: the argument \"\\xff\" is not UTF-8\nusage: signerctl audit acknowledge --note TEXT\nhint: `signerctl audit acknowledge --help` tells more\n"},
		{"completion", "signerctl: completion: the shell is missing: bash, zsh or fish\n" + usageCompletion},
		{"completion tcsh", "signerctl: completion: there is no completion for \"tcsh\": wanted bash, zsh or fish\n" + usageCompletion},
		{"completion bash zsh", "signerctl: completion: too many arguments: wanted 1, got 2\n" + usageCompletion},
		{"sign noah orders GET", "signerctl: sign noah: PATH is missing\n" + usageNoah + "hint: `signerctl sign noah --help` tells more\n"},
		{"sign noah orders GET /\xff", "signerctl: sign noah: the argument \"/\\xff\" is not UTF-8\n" + usageNoah + "hint: `signerctl sign noah --help` tells more\n"},
		{"sign noah orders GET / --query a:=9007199254740993", "signerctl: sign noah: --query \"a:=9007199254740993\" holds an integer beyond 2^53-1, which would be rounded; send it as a string, K=V\n" +
			usageNoah + "hint: K=V gives a string, K:=20 a number, K:=true a boolean, K:='[1,2]' a list\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			f.run(t, "not to be read", strings.Split(tt.args, " ")...).want(t, 2, "", tt.want)
		})
	}
	f.wantRequests(t)
}

func TestHelpGoesToStdout(t *testing.T) {
	for _, tt := range []struct{ args, has string }{
		{"", "Available Commands:"},
		{"key", "Available Commands:"},
		{"help key create", "signerctl key create NAME --env sandbox|prod"},
		{"sign noba --help", "$NOBA_BASE_URL"},
		{"--help", "signerctl completion bash"},
		{"completion --help", "source <(signerctl completion bash)"},
		{"key import --help", "noon  --credentials FILE [--user-agent UA] [--base-url URL]"},
		{"policy --help", "  rules:\n    - name: checkout-buys"},
		{"policy apply --help", "--skip-cases leaves them out"},
		{"policy apply --help", "--allow-lockout applies it all the same"},
		{"policy test --help", "The exit status is 1 when any call would be"},
		{"audit --help", "--verifier-key log.pub --since last --save last"},
		{"audit tail --help", "Ctrl-C"},
		{"key rotate --help", "--base-url URL"},
	} {
		r := run(t, "", strings.Fields(tt.args)...)
		if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, tt.has) {
			t.Errorf("%q: exit status %d, stderr %q, stdout\n%s", tt.args, r.code, r.stderr, r.stdout)
		}
	}
}

func TestVersionNeedsNoSignerd(t *testing.T) {
	t.Chdir(t.TempDir())
	if r := run(t, "", "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "signerctl ") {
		t.Errorf("got %+v", r)
	}
	if r := run(t, "", "-o", "json", "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "{\n  \"version\": \"") {
		t.Errorf("got %+v", r)
	}
}
