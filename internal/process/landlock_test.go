package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// hasLandlock reports whether this kernel can confine signerd.
func hasLandlock() bool {
	abi, err := ll.LandlockGetABIVersion()
	return err == nil && abi >= 1
}

func TestWithoutLandlockSignerdServesUnlessConfinementIsRequired(t *testing.T) {
	for confinement, want := range map[string]string{
		"required": "the kernel does not offer Landlock", "best-effort": "confined in part", "off": "not confined",
	} {
		t.Run(confinement, func(t *testing.T) {
			s := install(t, keyFile, "audit: {dir: ../log}\nconfinement: "+confinement+"\n", nil)
			s.underKernel(t, withoutLandlock)
			if confinement != "required" {
				s.launch(t)
				t.Log(s.logged(t, want))
				s.stop(t)
				return
			}
			cmd := exec.CommandContext(t.Context(), s.wrap[0], program, "--config", s.path("etc/signerd.yaml"))
			cmd.Env = append(os.Environ(), s.env...)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), `"msg":"serving"`) {
				t.Errorf("it ends with %v and says\n%s", err, out)
			}
			if left, err := os.ReadDir(s.path("run")); err != nil || len(left) > 0 {
				t.Errorf("sockets stay behind: %v (%v)", left, err)
			}
		})
	}
}

func TestWhereConfinementIsRequiredSignerdServesWithLandlockAlone(t *testing.T) {
	s := install(t, keyFile, "audit: {dir: ../log}\nconfinement: required\n", nil)
	if !hasLandlock() {
		out, err := exec.CommandContext(t.Context(), program, "--config", s.path("etc/signerd.yaml")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "the kernel does not offer Landlock") {
			t.Errorf("this kernel has no Landlock; it ends with %v and says\n%s", err, out)
		}
		return
	}
	s.launch(t)
	s.logged(t, `"msg":"confined"`)
	s.stop(t)
}
