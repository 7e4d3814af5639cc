package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Seal is what shows that a backup was made by the store that it is of.
type Seal struct {
	sum       [32]byte
	signature []byte
}

// By reports whether the key, that of the store's audit log, signed the backup.
func (s Seal) By(key note.Verifier) bool { return key.Verify(Signed(s.sum), s.signature) }

// Read reads a backup to its end, and gives each record to take, whose it is then; take may be nil. What take was given counts only
// when Read has returned without an error: ErrNotBackup, ErrDamaged, those of take and of r. It never reserves memory on the word of
// the file alone. Whether the store made the backup, Seal tells; whether its records open, only whoever has the root key.
func Read(r io.Reader, take func(Record) error) (Manifest, Seal, error) {
	return ReadSome(r, nil, take)
}

// ReadSome is Read that gives take only the records of which wanted says so by their names; nil wants all. It keeps no other in memory,
// and checks them all the same.
func ReadSome(r io.Reader, wanted func(name string) bool, take func(Record) error) (Manifest, Seal, error) {
	if take == nil {
		wanted = func(string) bool { return false }
	}
	in := &input{r: r, sum: sha256.New()}
	m, seal, err := read(in, wanted, take)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends too early", ErrDamaged)
	}
	if err != nil {
		return Manifest{}, Seal{}, err
	}
	return m, seal, nil
}

func read(in *input, wanted func(name string) bool, take func(Record) error) (Manifest, Seal, error) {
	m, err := readManifest(in)
	if err != nil {
		return m, Seal{}, err
	}
	var last string
	keys, left := 0, m.Bytes
	for i := range m.Records {
		r, size, err := readRecordHead(in, left, m.Records)
		if err == nil && r.Name <= last {
			err = fmt.Errorf("%w: it is out of order", ErrDamaged)
		}
		takes := err == nil && (wanted == nil || wanted(r.Name))
		switch {
		case takes:
			r.Sealed, err = in.take(int(size))
		case err == nil:
			err = in.skip(size)
		}
		if err != nil {
			return m, Seal{}, fmt.Errorf("record %d of %d: %w", i+1, m.Records, err)
		}
		last, left = r.Name, left-size
		if strings.HasPrefix(r.Name, keyPrefix) {
			keys++
		}
		if takes {
			if err := take(r); err != nil {
				return m, Seal{}, err
			}
		}
	}
	if left != 0 || keys != m.Keys {
		return m, Seal{}, fmt.Errorf("%w: its records are not those of its manifest", ErrDamaged)
	}
	seal := Seal{sum: [32]byte(in.sum.Sum(nil))}
	if seal.signature, err = in.take(signatureSize); err != nil {
		return m, Seal{}, err
	}
	want := in.sum.Sum(nil)
	sum, err := in.take(sha256.Size)
	if err != nil {
		return m, Seal{}, err
	}
	if !bytes.Equal(sum, want) {
		return m, Seal{}, fmt.Errorf("%w: its checksum does not fit", ErrDamaged)
	}
	if _, err := io.ReadFull(in.r, make([]byte, 1)); err == nil {
		return m, Seal{}, fmt.Errorf("%w: something follows its end", ErrDamaged)
	} else if !errors.Is(err, io.EOF) {
		return m, Seal{}, err
	}
	return m, seal, nil
}

func readManifest(in *input) (m Manifest, err error) {
	begin, err := in.take(len(magic))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && string(begin) != magic {
		return m, ErrNotBackup
	}
	if err != nil {
		return m, err
	}
	size, err := in.number(4)
	if err != nil {
		return m, err
	}
	if size > maxManifestBytes {
		return m, fmt.Errorf("%w: its manifest has %d bytes", ErrDamaged, size)
	}
	text, err := in.take(int(size))
	if err != nil {
		return m, err
	}
	// The format comes first: a newer manifest may hold what this program does not know.
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &format); err != nil {
		return m, fmt.Errorf("%w: its manifest cannot be read", ErrDamaged)
	}
	if format.Format == Format {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&m); err != nil {
			return m, fmt.Errorf("%w: its manifest cannot be read", ErrDamaged)
		}
	}
	m.Format = format.Format
	return m, m.check()
}

// readRecordHead reads what comes before the sealed bytes of a record, and says how many there are: at most left, and what its kind may
// have in a backup of so many records.
func readRecordHead(in *input, left int64, records int) (r Record, sealed int64, err error) {
	size, err := in.number(1)
	if err != nil {
		return r, 0, err
	}
	if size == 0 || size > maxNameBytes {
		return r, 0, fmt.Errorf("%w: its name has %d bytes", ErrDamaged, size)
	}
	name, err := in.take(int(size))
	if err != nil {
		return r, 0, err
	}
	r.Name = string(name)
	if r.Generation, err = in.number(8); err != nil {
		return r, 0, err
	}
	if size, err = in.number(4); err != nil {
		return r, 0, err
	}
	sealed = int64(size)
	if sealed > left || sealed > maxSealed(r.Name, records) {
		return r, 0, fmt.Errorf("%w: it has %d bytes, more than there can be", ErrDamaged, size)
	}
	return r, sealed, nil
}

// input reads and hashes.
type input struct {
	r   io.Reader
	sum hash.Hash
}

// take reads exactly n bytes. The buffer grows with what arrives.
func (in *input) take(n int) ([]byte, error) {
	var b bytes.Buffer
	read, err := io.CopyN(&b, in.r, int64(n))
	if err != nil {
		return nil, err
	}
	if read < int64(n) {
		return nil, io.ErrUnexpectedEOF
	}
	in.sum.Write(b.Bytes())
	return b.Bytes(), nil
}

// skip reads n bytes and keeps none.
func (in *input) skip(n int64) error {
	_, err := io.CopyN(in.sum, in.r, n)
	return err
}

func (in *input) number(size int) (uint64, error) {
	b, err := in.take(size)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(append(make([]byte, 8-size), b...)), nil
}
