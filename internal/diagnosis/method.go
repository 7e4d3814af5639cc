package diagnosis

import (
	"fmt"
	"strings"
)

// fitMethod names the difference between the method that was signed and the one that was sent; nil for none.
func fitMethod(signed, sent string) *Finding {
	both := fmt.Sprintf("signed %s, sent %s", shown(signed), shown(sent))
	switch {
	case signed == strings.ToUpper(sent):
		return nil
	case strings.EqualFold(signed, sent):
		return &Finding{MethodCase, "method: it was signed in another case: " + both, "sign the method in upper case"}
	}
	return &Finding{MethodDiffers, "method: " + both,
		"sign the method that goes out; a library may change it: curl -d makes a POST of a GET, and a redirect a GET of a POST"}
}
