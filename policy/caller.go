package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Caller is who asks, as signerd established it. It is comparable; the zero value is nobody.
type Caller struct{ id string }

// String is the caller as grants and records write it: "unix:uid=1000".
func (c Caller) String() string { return c.id }

// OverflowUID is what the kernel reports for users that do not exist in signerd's user namespace. It is nobody.
const OverflowUID = 65534

const unixPrefix = "unix:uid="

var errCaller = errors.New("wanted unix:uid=N with a numeric user id")

// UnixCaller is the process at the other end of a Unix socket. It fails for the overflow uid.
func UnixCaller(uid uint32) (Caller, error) {
	// (uid_t)-1 is how the kernel says that there is no peer.
	if uid == OverflowUID || uid == 1<<32-1 {
		return Caller{}, fmt.Errorf("uid %d is nobody", uid)
	}
	return Caller{unixPrefix + strconv.FormatUint(uint64(uid), 10)}, nil
}

// ParseCaller reads a caller as grants write it, in its one spelling.
func ParseCaller(s string) (Caller, error) {
	digits, ok := strings.CutPrefix(s, unixPrefix)
	if !ok {
		return Caller{}, errCaller
	}
	uid, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || strconv.FormatUint(uid, 10) != digits {
		return Caller{}, errCaller
	}
	return UnixCaller(uint32(uid))
}
