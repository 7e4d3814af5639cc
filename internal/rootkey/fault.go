package rootkey

import "fmt"

// Fault is an error of a provider that knows more than that something does not unwrap: keystore asks it by its methods. Its text holds
// nothing that was sent or answered.
type Fault struct {
	text               string
	unavailable, wrong bool
}

// Error implements error.
func (f *Fault) Error() string { return f.text }

// Unavailable says that nobody could be asked: the same may work later.
func (f *Fault) Unavailable() bool { return f.unavailable }

// WrongKey says that it was wrapped with a key that this provider does not have, or does not use any more.
func (f *Fault) WrongKey() bool { return f.wrong }

func unavailable(format string, args ...any) error {
	return &Fault{text: fmt.Sprintf(format, args...), unavailable: true}
}

func wrongKey(format string, args ...any) error {
	return &Fault{text: fmt.Sprintf(format, args...), wrong: true}
}
