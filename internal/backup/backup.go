// Package backup reads and writes backups of a store: its records as they are kept, sealed, in one file that shows when it was
// damaged, cut short or put together by somebody else.
//
// It is for keystore, which makes and restores backups, and for signerctl, which looks after them without any key. It opens no record.
//
// A file is, with all numbers big-endian:
//
//	"signerd backup\n" | length (4 bytes) | manifest, JSON
//	for each record, in the order of their names: length (1) | name | generation (8) | length (4) | sealed
//	Ed25519 signature (64) | SHA-256 of all before (32)
//
// The signature is over Signed of the SHA-256 of all before it.
package backup

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Format is the format that this program writes. A newer one gets a new number; old ones keep opening.
const Format = 1

// What a file may hold at most.
const (
	// MaxRecords bounds the records of a backup.
	MaxRecords = 1 << 21
	// MaxSealedBytes bounds one sealed record of any kind.
	MaxSealedBytes = 256 << 20

	maxManifestBytes = 64 << 10
	maxNameBytes     = 128
)

// What a sealed record may hold at most, by its kind. Records are JSON, with bytes in base64.
const (
	maxKeyBytes    = 16 << 20 // some thousand versions with material
	maxPolicyBytes = 32 << 20
	maxAuditBytes  = 4 << 20
	maxOtherBytes  = 1 << 20
	// The head has an entry for each record.
	maxHeadBytes, maxHeadEntryBytes = 64 << 10, 320
)

// maxSealed bounds the record of this name in a backup of so many records.
func maxSealed(name string, records int) int64 {
	switch {
	case strings.HasPrefix(name, keyPrefix):
		return maxKeyBytes
	case name == "policy":
		return maxPolicyBytes
	case name == "audit":
		return maxAuditBytes
	case name == "head":
		return min(maxHeadBytes+int64(records)*maxHeadEntryBytes, MaxSealedBytes)
	}
	return maxOtherBytes
}

const (
	magic         = "signerd backup\n"
	signatureSize = 64
)

// Errors of Read.
var (
	// ErrNotBackup says that a file is none, or of a format that this program does not read.
	ErrNotBackup = errors.New("it is not a backup that this signerd can read")
	// ErrDamaged says that a backup was changed or cut short.
	ErrDamaged = errors.New("the backup is damaged or was cut short")
)

// Manifest says what a backup holds.
type Manifest struct {
	// Format is that of the file.
	Format int `json:"format"`
	// StoreID is the store's, 32 hexadecimal digits.
	StoreID string `json:"store_id"`
	// Counter is the store's change counter, and Root the hash over its records, 64 hexadecimal digits.
	Counter uint64 `json:"counter"`
	Root    string `json:"root"`
	// Records is how many there are, and Bytes how long they are, sealed, together.
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Keys is how many of them are keys.
	Keys int `json:"keys"`
	// Created is when the backup was taken.
	Created time.Time `json:"created"`
	// Version is that of the signerd that took it.
	Version string `json:"version"`
	// RootKeyID names the root key that opens it.
	RootKeyID string `json:"root_key_id"`
}

// Record is a sealed record.
type Record struct {
	Name       string
	Generation uint64
	Sealed     []byte
}

// Signed is the text that the signature of a backup is over; sum is the SHA-256 of all before the signature. It cannot be the text of a
// checkpoint, which begins with the log's origin.
func Signed(sum [32]byte) []byte { return fmt.Appendf(nil, "backup of a store\n%x\n", sum) }

// check holds a manifest against the bounds, before anything is read on its word.
func (m Manifest) check() error {
	switch {
	case m.Format != Format:
		return fmt.Errorf("%w: its format is %d, and this program reads %d", ErrNotBackup, m.Format, Format)
	case !isHex(m.StoreID, 16) || !isHex(m.Root, 32):
		return fmt.Errorf("%w: its manifest does not say which store it is of", ErrDamaged)
	case m.Records < 1 || m.Records > MaxRecords || m.Keys < 0 || m.Keys > m.Records || m.Bytes < 0 || m.Bytes > int64(m.Records)*maxKeyBytes+MaxSealedBytes+maxPolicyBytes:
		return fmt.Errorf("%w: its manifest has impossible numbers", ErrDamaged)
	}
	return nil
}

func isHex(text string, size int) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(text) == 2*size
}
