package backup

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// keyPrefix begins the names of records that are keys.
const keyPrefix = "key/"

// Write writes a backup; m needs neither Format nor the numbers of records, keys and bytes. sign makes the Ed25519 signature of a text. It
// gives the manifest as it was written. It sorts records.
func Write(w io.Writer, m Manifest, records []Record, sign func(text []byte) ([]byte, error)) (Manifest, error) {
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Name, b.Name) })
	m.Format, m.Records, m.Keys, m.Bytes = Format, len(records), 0, 0
	for _, r := range records {
		if len(r.Name) == 0 || len(r.Name) > maxNameBytes || int64(len(r.Sealed)) > maxSealed(r.Name, len(records)) {
			return m, fmt.Errorf("writing a backup: record %q has %d bytes, which is out of bounds", r.Name, len(r.Sealed))
		}
		m.Bytes += int64(len(r.Sealed))
		if strings.HasPrefix(r.Name, keyPrefix) {
			m.Keys++
		}
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("writing a backup: %w", err)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return m, fmt.Errorf("writing a backup: %w", err)
	}
	if len(manifest) > maxManifestBytes {
		return m, fmt.Errorf("writing a backup: its manifest has %d bytes", len(manifest))
	}
	out := &summing{w: w, sum: sha256.New()}
	out.write(append(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(manifest))), manifest...))
	for _, r := range records {
		head := append([]byte{byte(len(r.Name))}, r.Name...)
		head = binary.BigEndian.AppendUint64(head, r.Generation)
		out.write(binary.BigEndian.AppendUint32(head, uint32(len(r.Sealed))))
		out.write(r.Sealed)
	}
	signature, err := sign(Signed([32]byte(out.sum.Sum(nil))))
	if err != nil {
		return m, fmt.Errorf("signing a backup: %w", err)
	}
	if len(signature) != signatureSize {
		return m, fmt.Errorf("signing a backup: the signature has %d bytes", len(signature))
	}
	out.write(signature)
	out.write(out.sum.Sum(nil))
	if out.err != nil {
		return m, fmt.Errorf("writing a backup: %w", out.err)
	}
	return m, nil
}

// summing writes and hashes until the first error.
type summing struct {
	w   io.Writer
	sum hash.Hash
	err error
}

func (s *summing) write(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	s.sum.Write(b)
}
