package keystore

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/signerd/signerd/internal/backup"
)

// Backup writes all records as the store holds them at one revision, sealed, in the format of package backup, signed by AuditSigner;
// version is that of the program. It needs no root key, and refuses to back up a store with any fault (ErrDamaged, ErrRolledBack). Other
// errors: ErrUnavailable, and those of w. Changes wait only while the store is read, not for w.
func (k *Keystore) Backup(ctx context.Context, w io.Writer, version string) (backup.Manifest, error) {
	s, list, err := k.checked(ctx)
	if err != nil {
		return backup.Manifest{}, fmt.Errorf("backing up the store: %w", err)
	}
	records := make([]backup.Record, 0, len(list))
	var wrapped []byte
	for _, r := range list {
		records = append(records, backup.Record(r))
		if r.Name == nameKeyring {
			wrapped = r.Sealed
		}
	}
	var ring keyringRecord
	if err := decode(wrapped, &ring); err != nil {
		return backup.Manifest{}, damaged(nameKeyring, "it cannot be read")
	}
	root := s.head.root()
	return backup.Write(w, backup.Manifest{
		StoreID: hex.EncodeToString(s.sealer.store[:]), Counter: s.head.counter, Root: hex.EncodeToString(root[:]),
		Created: k.config.now(), Version: version, RootKeyID: ring.RootKeyID,
	}, records, s.signer.Sign)
}

// checked reads the store once, and holds what it has against its head. The snapshot that it gives has that head, and no keys.
func (k *Keystore) checked(ctx context.Context) (*snapshot, []Record, error) {
	// The data keys of the snapshot are those of the records only while nothing is changed.
	k.change.Lock()
	defer k.change.Unlock()
	list, revision, err := k.config.Store.Load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	current := k.current.Load()
	records := byName(list)
	h, err := openHead(current.sealer, records)
	if err != nil {
		return nil, nil, err
	}
	if h.counter < current.head.counter {
		return nil, nil, ErrRolledBack
	}
	if err := h.compare(current.sealer, records); err != nil {
		return nil, nil, err
	}
	return &snapshot{revision: revision, head: h, keyset: current.keyset, signer: current.signer}, slices.Clip(list), nil
}
