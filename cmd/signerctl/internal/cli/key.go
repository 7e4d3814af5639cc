package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func (a *app) keyCommand() *cobra.Command {
	return group("key", "Manage keys and their versions",
		a.keyCreate(), a.keyImport(), a.keyList(), a.keyShow(), a.keyPublic(), a.keyRotate(), a.keyActivate(),
		a.keySwitch(true), a.keySwitch(false), a.keyDestroy(), a.keyRestore(), a.keyExpiry(), a.keyLabel())
}

// generationFlag gives a changing command its precondition; 0 means none.
func generationFlag(cmd *cobra.Command) *uint64 {
	return cmd.Flags().Uint64("generation", 0, "change nothing unless the key is at generation `N`, as \"signerctl key show\" tells it")
}

var environments = map[string]adminv1.Environment{
	"sandbox": adminv1.Environment_ENVIRONMENT_SANDBOX,
	"prod":    adminv1.Environment_ENVIRONMENT_PROD,
}

// environmentFlag gives a command --env, without which it does not run.
func environmentFlag(cmd *cobra.Command) *choice {
	c := &choice{allowed: []string{"sandbox", "prod"}}
	cmd.Flags().Var(c, "env", "the partner's environment; it never changes")
	require(cmd, "env")
	return c
}

// labelFlag gives a command --label.
func labelFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("label", nil, "a label `K=V` for people and policies; repeatable")
}

func algorithmFlag(cmd *cobra.Command) *choice {
	c := &choice{allowed: []string{"ES384", "ES256"}}
	cmd.Flags().Var(c, "alg", "algorithm of the new pair (default ES384, which NOAH recommends)")
	return c
}

func environmentName(e adminv1.Environment) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "ENVIRONMENT_"))
}

func stateName(s adminv1.KeyVersionState) string {
	return strings.TrimPrefix(s.String(), "KEY_VERSION_STATE_")
}

// findVersion is nil when the key has no version of that number.
func findVersion(k *adminv1.Key, number uint32) *adminv1.KeyVersion {
	for _, v := range k.GetVersions() {
		if v.GetNumber() == number {
			return v
		}
	}
	return nil
}

// activeVersion names the version that signs, and its state when it cannot.
func activeVersion(k *adminv1.Key) string {
	if k.GetActiveVersion() == 0 {
		return "-"
	}
	number := formatNumber(k.GetActiveVersion())
	if v := findVersion(k, k.GetActiveVersion()); v != nil && v.GetState() != adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED {
		number += " (" + stateName(v.GetState()) + ")"
	}
	return number
}

// lastUse says when a version was last used, or how far it is known that it was not.
func lastUse(v *adminv1.KeyVersion, knownSince *timestamppb.Timestamp) string {
	switch {
	case v.GetLastUseTime() != nil:
		return formatTime(v.GetLastUseTime())
	case knownSince == nil:
		return "unknown"
	case v.GetCreateTime().AsTime().Before(knownSince.AsTime()):
		return "not since " + formatTime(knownSince)
	}
	return "never"
}

func writeKey(w io.Writer, k *adminv1.Key, usesKnownSince *timestamppb.Timestamp) {
	table(w,
		[]string{"Name:", k.GetName()},
		[]string{"Scheme:", k.GetScheme()},
		[]string{"Environment:", environmentName(k.GetEnvironment())},
		[]string{"Enabled:", yesNo(k.GetEnabled())},
		[]string{"Active version:", activeVersion(k)},
		[]string{"Labels:", formatLabels(k.GetLabels())},
		[]string{"Generation:", strconv.FormatUint(k.GetGeneration(), 10)},
		[]string{"Created:", formatTime(k.GetCreateTime())},
		[]string{"Updated:", formatTime(k.GetUpdateTime())})
	rows := [][]string{{"VERSION", "STATE", "ALGORITHM", "CREATED", "CREATOR", "LAST USED", "PUBLIC KEY SHA-256"}}
	for _, v := range k.GetVersions() {
		fingerprint := v.GetPublicKeySha256()
		if fingerprint == "" {
			fingerprint = "-"
		}
		rows = append(rows, []string{formatNumber(v.GetNumber()), versionState(v), v.GetAlgorithm(),
			formatTime(v.GetCreateTime()), v.GetCreator(), lastUse(v, usesKnownSince), fingerprint})
	}
	_, _ = fmt.Fprintln(w)
	table(w, rows...)
}

func writeKeys(w io.Writer, keys []*adminv1.Key) {
	rows := [][]string{{"NAME", "SCHEME", "ENV", "STATUS", "ACTIVE", "VERSIONS", "LABELS"}}
	for _, k := range keys {
		rows = append(rows, []string{k.GetName(), k.GetScheme(), environmentName(k.GetEnvironment()), switchName(k.GetEnabled()),
			activeVersion(k), strconv.Itoa(len(k.GetVersions())) + nextDestruction(k), formatLabels(k.GetLabels())})
	}
	table(w, rows...)
}

func switchName(on bool) string {
	if on {
		return "enabled"
	}
	return "disabled"
}

func formatNumber(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
