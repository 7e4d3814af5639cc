package cli

import (
	"strings"
	"testing"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestStatusTellsThatTheStoreIsNotCompacted(t *testing.T) {
	for _, tt := range []struct {
		warning string
		shown   bool
	}{{"no space left on device", true}, {"", false}} {
		f := serve(t, answers{"GetStatus": give(&adminv1.GetStatusResponse{StoreWarning: tt.warning})})
		out := f.run(t, "", "status").stdout
		if strings.Contains(out, "Store warning:") != tt.shown || !strings.Contains(out, tt.warning) {
			t.Errorf("with the warning %q the status is\n%s", tt.warning, out)
		}
	}
}
