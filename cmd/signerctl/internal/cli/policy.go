package cli

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/signerd/signerd/cmd/signerctl/internal/policyfile"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// maxPolicyBytes bounds a document's file.
const maxPolicyBytes = 4 << 20

// largeAnswers lets a policy be as large as signerd can be configured to take.
var largeAnswers = grpc.MaxCallRecvMsgSize(maxBodyBytes)

const longPolicy = `Say who may have what signed.

The policy is one document. signerd keeps it and replaces it whole: "get" prints it, an editor changes it, "test" tries
it out and "apply" puts it in force. "get" does not bring back comments or the order of keys.

  generation: 7                # as "get" printed it: "apply" refuses a document that was made from an older policy
  rules:
    - name: checkout-buys
      description: what it is for
      effect: allow            # or deny, which wins over every allow; without a matching allow nothing is allowed
      mode: enforce            # or shadow: the rule is evaluated and reported, and changes nothing
      callers: [spiffe://example.org/checkout, unix:uid=1000]    # dns:orders.internal, spiffe://example.org/**, "*"
      keys: [noah-checkout]                                      # "*" for every key
      operations: [SignNoahRequest]                              # "*" for all
      environments: [sandbox]
      labels: {team: checkout}
      methods: [POST]
      paths: [/v1/checkout/buy, /v1/customers/*/cards]           # * is one segment, a final ** the rest
      query:                                                     # [] allows no query at all
        - {name: PageSize, values: ["10", "20"], optional: true}
      when: body.FiatCurrency == "USD"                           # a condition in CEL
      limits: {per_second: 5, burst: 10, per_hour: 1000, per_day: 5000}
  cases:                       # requests with the decisions that you expect
    - name: a buy of 100 USD
      caller: spiffe://example.org/checkout
      key: noah-checkout       # with environment, scheme and labels: as if there were such a key
      operation: SignNoahRequest
      method: POST
      path: /v1/checkout/buy
      query: {PageSize: 20}    # typed, beside or instead of a ?query in path
      body: '{"FiatCurrency":"USD"}'                             # or body_sha256: 64 hexadecimal digits
      expect: allow
      rule: checkout-buys      # the rule that you expect to decide; it may be left out

A rule needs name, effect, callers, keys and operations; what it does not name matches everything.`

func (a *app) policyCommand() *cobra.Command {
	cmd := group("policy", "Say who may have what signed", a.policyGet(), a.policyApply(), a.policyTest(), a.policyExplain())
	cmd.Long = longPolicy
	return cmd
}

func (a *app) policyGet() *cobra.Command {
	var output *choice
	cmd := command("get", "Print the policy in force", positional(), func(cmd *cobra.Command, _ []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewPolicyServiceClient(conn).GetPolicy(cmd.Context(), &adminv1.GetPolicyRequest{}, largeAnswers)
		if err != nil {
			return &failure{what: "getting the policy", err: err}
		}
		if output.value == formatJSON {
			return a.print(output, resp, nil)
		}
		comment := "no policy was ever set: nobody is allowed anything but by the configuration file"
		if resp.GetGeneration() != 0 {
			comment = "set " + formatTime(resp.GetUpdateTime()) + " by " + resp.GetAuthor()
		}
		text, err := policyfile.Format(resp.GetPolicy(), resp.GetGeneration(), comment)
		if err != nil {
			return &failure{what: "writing the policy as YAML", err: err,
				hint: "is signerd newer than this signerctl? -o json prints what of it is known here"}
		}
		return a.write(text)
	})
	output = outputFlag(cmd, "yaml", formatJSON)
	return cmd
}

// document is a policy document from a file or standard input.
type document struct {
	*policyfile.Document
	name string
}

// documentCommand makes a command whose one argument is the file of a document.
func (a *app) documentCommand(use, short string, run func(cmd *cobra.Command, path string) error) *cobra.Command {
	cmd := command(use, short, positional("FILE"), func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return &usageError{message: "FILE is empty"}
		}
		for _, f := range []*file{&a.tlsCert, &a.tlsKey, &a.tlsCA} {
			if args[0] == "-" && f.isStdin() {
				return &usageError{message: "FILE and " + f.flag + " both ask for standard input, which can be read once"}
			}
		}
		return run(cmd, args[0])
	})
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
	return cmd
}

func (a *app) readDocument(path string) (*document, error) {
	d := &document{name: path}
	if path == "-" {
		d.name = "standard input"
	}
	text, err := a.read(&file{flag: "FILE", path: path}, maxPolicyBytes)
	if f, ok := errors.AsType[*failure](err); ok {
		// No secret: its name may be told.
		f.what = "reading " + d.name
		return nil, f
	}
	if err != nil {
		return nil, err
	}
	d.Document, err = policyfile.Parse(text)
	if faults, ok := errors.AsType[policyfile.Faults](err); ok {
		return nil, d.faulty("reading "+d.name, errors.New("it is no policy document"), faults)
	}
	return d, err
}

// at writes a fault as compilers do, for people and editors.
func (d *document) at(f policyfile.Fault) string {
	where := plain(d.name) + ":"
	if f.Line > 0 {
		where += strconv.Itoa(f.Line) + ":"
	}
	return where + " " + plain(f.String())
}

func (d *document) faulty(what string, err error, faults []policyfile.Fault) *failure {
	f := &failure{what: what, err: err, hint: "`signerctl policy --help` shows what a document looks like"}
	for _, fault := range faults {
		f.lines = append(f.lines, d.at(fault))
	}
	return f
}

// refused explains signerd's answer about a document by the document's own lines.
func (d *document) refused(what string, err error) *failure {
	if call, ok := errors.AsType[*callError](err); ok {
		_, violations, _ := call.explain("")
		var faults []policyfile.Fault
		for _, v := range violations {
			faults = append(faults, d.Fault(v.GetField(), v.GetDescription()))
		}
		if len(faults) > 0 {
			return d.faulty(what, errors.New("signerd does not accept the document"), faults)
		}
	}
	return &failure{what: what, err: err}
}

// decision says what was decided, and by which rule.
func decision(effect adminv1.PolicyEffect, rule string) string {
	switch {
	case rule != "":
		return effectName(effect) + " by " + rule
	case effect == adminv1.PolicyEffect_POLICY_EFFECT_DENY:
		return "deny, as no rule matches"
	}
	return effectName(effect)
}

func effectName(e adminv1.PolicyEffect) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "POLICY_EFFECT_"))
}

// quantity counts things whose plural is regular.
func quantity[N int | uint32 | uint64](n N, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
		return "1 " + thing
	}
	return strconv.FormatUint(uint64(n), 10) + " " + thing + "s"
}
