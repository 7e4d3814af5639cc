package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/version"
)

func (a *app) statusCommand() *cobra.Command {
	var output *choice
	cmd := command("status", "Show whether signerd serves, and as whom it sees you", positional(), func(cmd *cobra.Command, _ []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewSystemServiceClient(conn).GetStatus(cmd.Context(), &adminv1.GetStatusRequest{})
		if err != nil {
			return &failure{what: "asking for the status", err: err}
		}
		return a.print(output, resp, func(w io.Writer) { writeStatus(w, resp) })
	})
	cmd.Long = "Show whether signerd serves, and as whom it sees you.\n\nThe exit status is 0 whenever signerd answers, also when it does not serve."
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func writeStatus(w io.Writer, s *adminv1.GetStatusResponse) {
	serving := yesNo(s.GetServing())
	if s.GetReason() != "" {
		serving += ", " + s.GetReason()
	}
	development := yesNo(s.GetDevelopment())
	if s.GetDevelopment() {
		development += ", not for production keys"
	}
	rows := [][]string{
		{"Serving:", serving},
		{"Version:", s.GetVersion() + " (" + s.GetGoVersion() + ")"},
		{"Started:", formatTime(s.GetStartTime())},
		{"Development:", development},
	}
	rows = append(rows, storeStatus(s)...)
	if s.GetRecoveryKeyId() != "" {
		rows = append(rows, []string{"Recovery key:", s.GetRecoveryKeyId()})
	}
	if s.GetCryptoModule() != "" {
		rows = append(rows, []string{"Cryptography:", "module " + s.GetCryptoModule() + ", FIPS 140-3 " + s.GetFips140()})
	}
	if n := s.GetScheduledDestructionCount(); n > 0 {
		rows = append(rows, []string{"To be destroyed:", quantity(uint64(n), "version") + ", the next at " + formatTime(s.GetNextDestroyTime())})
	}
	if soon, already := s.GetExpiringVersionCount(), s.GetExpiredVersionCount(); soon+already > 0 {
		rows = append(rows, []string{"Expiring:", quantity(uint64(soon), "version") + " within 30 days, " + quantity(uint64(already), "version") + " already"})
	}
	if n := s.GetUnusedVersionCount(); n > 0 {
		rows = append(rows, []string{"Unused:", quantity(uint64(n), "enabled version") + " not used for 90 days; uses are known since " + formatTime(s.GetUsesKnownSince())})
	}
	if f := s.GetFreeze(); f != nil {
		rows = append(rows, []string{"Frozen:", frozenBy(f)}, []string{"", "All signing is stopped until: signerctl unfreeze"})
	}
	if s.GetAuditFault() != "" {
		rows = append(rows, []string{"Audit fault:", s.GetAuditFault()},
			[]string{"", "Nothing is handed out before that is repaired; where records are missing: signerctl audit acknowledge"})
	}
	if s.GetAuditWarning() != "" {
		rows = append(rows, []string{"Audit warning:", s.GetAuditWarning()})
	}
	if s.GetStoreWarning() != "" {
		rows = append(rows, []string{"Store warning:", s.GetStoreWarning()},
			[]string{"", "Its file may still hold what was destroyed, or sealed for an old root key; signerd tries again every minute"})
	}
	if lost := s.GetAuditCopyLost(); lost > 0 {
		rows = append(rows, []string{"Audit copy:", quantity(lost, "record") + " lost since the start, of the second sink alone"})
	}
	table(w, append(rows, []string{"You are:", s.GetCaller()})...)
}

// storeStatus is what is in the store and the audit log. Every store that is open has a root key.
func storeStatus(s *adminv1.GetStatusResponse) [][]string {
	if !s.GetServing() && s.GetRootKeyId() == "" {
		return [][]string{{"Keys:", notLoaded}, {"Policy:", notLoaded}, {"Store counter:", notLoaded}, {"Root key:", notLoaded}, {"Audit:", notLoaded}}
	}
	return [][]string{
		{"Keys:", fmt.Sprintf("%d, with %d versions", s.GetKeyCount(), s.GetKeyVersionCount())},
		{"Policy:", policyStatus(s)},
		{"Store counter:", strconv.FormatUint(s.GetStoreCounter(), 10)},
		{"Root key:", s.GetRootKeyId()},
		{"Audit:", quantity(s.GetAuditRecords(), "record")},
	}
}

// notLoaded is said in place of what is not known yet.
const notLoaded = "not loaded yet"

func policyStatus(s *adminv1.GetStatusResponse) string {
	if s.GetPolicyGeneration() == 0 {
		return "none, so that nobody may do anything: signerctl policy apply"
	}
	return fmt.Sprintf("generation %d, with %d rules", s.GetPolicyGeneration(), s.GetPolicyRuleCount())
}

func (a *app) versionCommand() *cobra.Command {
	var output *choice
	cmd := command("version", "Show signerctl's own version", positional(), func(*cobra.Command, []string) error {
		v := struct {
			Version   string `json:"version"`
			GoVersion string `json:"go_version"`
		}{version.Version, runtime.Version()}
		if output.value == formatJSON {
			b, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				return &failure{what: "writing the output", err: err}
			}
			return a.write(append(b, '\n'))
		}
		return a.write(fmt.Appendf(nil, "signerctl %s (%s)\n", v.Version, v.GoVersion))
	})
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}
