package cli

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/durable"
)

var errOtherCheckpoint = errors.New("there is something in it that the log is not held to")

// checkSave allows only a file that is not there, or that has what --since gave.
func (v *verifying) checkSave() error {
	if !v.save.given() {
		return nil
	}
	present, err := v.saved()
	if err != nil {
		return v.saveFailure(err)
	}
	if present != nil && (v.sinceText == nil || !bytes.Equal(present, v.sinceText)) {
		return v.saveFailure(errOtherCheckpoint)
	}
	return nil
}

// saved is what the file holds; nil when there is none.
func (v *verifying) saved() ([]byte, error) {
	b, err := durable.ReadLimited(v.save.path, checkpoint.MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, durable.ErrTooLarge):
		return nil, errOtherCheckpoint
	case err != nil:
		return nil, err
	case b == nil:
		b = []byte{}
	}
	return b, nil
}

func (v *verifying) saveCheckpoint(signed []byte) error {
	// Another run may have written it since.
	if err := v.checkSave(); err != nil {
		return err
	}
	write := durable.WriteFile
	if present, err := v.saved(); err == nil && present == nil {
		write = durable.CreateFile
	}
	if err := write(v.save.path, signed, 0o644); err != nil {
		return v.saveFailure(err)
	}
	return nil
}

func (v *verifying) saveFailure(err error) error {
	f := &failure{what: "saving the checkpoint in " + v.save.path, err: err}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		f.err = path.Err
	}
	if errors.Is(err, errOtherCheckpoint) {
		f.hint = "if it is a checkpoint of this log, give it to --since too: it is replaced once the log is proven to have grown from it"
	}
	return f
}
