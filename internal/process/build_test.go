package process

import (
	"fmt"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/internal/version"
)

// The program is built as this test is: `make test-secret` and `make test-fips` build both otherwise.
func TestTheStartSaysWhatTheProgramIsBuiltWithAndItSigns(t *testing.T) {
	s := install(t, keyFile, "audit: {dir: ../log}\n", nil)
	s.launch(t)
	want := fmt.Sprintf(`"fips140":%q,"module":%q,"erasing":%t`, version.FIPS(), version.Module(), secret.Erasing)
	if line := s.logged(t, `"msg":"cryptography"`); !strings.Contains(line, want) {
		t.Errorf("the start says %s, want %s", line, want)
	}
	s.allowEverything(t)
	s.importKey(t, "vector", "noba", vectorMaterial())
	s.signsTheVector(t)
	s.stop(t)
}
