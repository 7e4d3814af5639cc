package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Freeze is whether all signing is stopped, as it was at one generation. It is immutable; the zero value says that it never was.
type Freeze struct {
	// Frozen says that signing is stopped; the rest then tells of the stop, otherwise of the end of the last one.
	Frozen bool
	// Reason is what the operator gave; empty once it ended.
	Reason string
	Time   time.Time
	// Author is the caller that stopped it, or let it go on.
	Author string
	// Generation is the store's counter at this change; 0 while there was none.
	Generation uint64
}

// MaxFreezeReasonBytes bounds the reason of a freeze.
const MaxFreezeReasonBytes = 1024

// freezeRecord is a freeze as it is sealed. A freeze that ended stays, so that the head goes on vouching for it: taking the
// record away is no way to end one.
type freezeRecord struct {
	Format int       `json:"format"`
	Frozen bool      `json:"frozen"`
	Reason string    `json:"reason,omitempty"`
	Time   time.Time `json:"time"`
	Author string    `json:"author"`
}

// Freeze tells whether all signing is stopped.
func (v View) Freeze() Freeze {
	if v.s == nil {
		return Freeze{}
	}
	return v.s.freeze
}

// Freeze stops all signing, durably; it is for who hands out signatures to look at. While it is stopped already nothing is
// written, and changed is false. It gives the freeze in force. Errors: ErrUnavailable, ErrConflict.
func (k *Keystore) Freeze(ctx context.Context, by Actor, reason string) (inForce Freeze, changed bool, err error) {
	if len(reason) > MaxFreezeReasonBytes {
		return Freeze{}, false, fmt.Errorf("a reason of %d bytes: at most %d can be stored", len(reason), MaxFreezeReasonBytes)
	}
	_, after, changed, err := k.setFreeze(ctx, Freeze{Frozen: true, Reason: reason, Author: string(by)})
	return after, changed, err
}

// Unfreeze lets signing go on. While it is not stopped nothing is written, and changed is false. It gives the state before and
// after. Errors: ErrUnavailable, ErrConflict.
func (k *Keystore) Unfreeze(ctx context.Context, by Actor) (before, after Freeze, changed bool, err error) {
	return k.setFreeze(ctx, Freeze{Author: string(by)})
}

func (k *Keystore) setFreeze(ctx context.Context, wanted Freeze) (before, after Freeze, changed bool, err error) {
	err = k.changing(ctx, func(s *snapshot) error {
		before = s.freeze
		if before.Frozen == wanted.Frozen {
			after, changed = before, false
			return nil
		}
		after, changed = wanted, true
		after.Time = k.config.now()
		plaintext, err := encode(freezeRecord{recordFormat, after.Frozen, after.Reason, after.Time, after.Author})
		if err != nil {
			return err
		}
		return k.commit(ctx, s, nameFreeze, plaintext, func(r Record) (func(*snapshot), error) {
			after.Generation = r.Generation
			return func(n *snapshot) { n.freeze = after }, nil
		})
	})
	if err != nil {
		return Freeze{}, Freeze{}, false, err
	}
	return before, after, changed, nil
}

// OnFreeze has told called whenever signing was stopped or may go on, whichever process brought it about. It is called with the
// keystore's lock held: it may look at the View, which has the new state, and must change nothing. There is one at a time.
func (k *Keystore) OnFreeze(told func()) { k.freezeTold.Store(&told) }

// publish makes a snapshot the current one. The caller holds k.change.
func (k *Keystore) publish(n *snapshot) {
	before := k.current.Swap(n)
	told := k.freezeTold.Load()
	if told != nil && before != nil && before.freeze != n.freeze {
		(*told)()
	}
}

// openFreeze reads a stored record.
func openFreeze(s *snapshot, r Record) (Freeze, error) {
	plaintext, err := s.sealer.open(r.Name, r.Generation, r.Sealed)
	if err != nil {
		return Freeze{}, err
	}
	var rec freezeRecord
	if err := decode(plaintext, &rec); err != nil {
		return Freeze{}, err
	}
	switch {
	case rec.Format != recordFormat:
		return Freeze{}, fmt.Errorf("its format is %d; this program reads %d", rec.Format, recordFormat)
	case len(rec.Reason) > MaxFreezeReasonBytes:
		return Freeze{}, errors.New("its reason is too long")
	}
	return Freeze{rec.Frozen, rec.Reason, rec.Time, rec.Author, r.Generation}, nil
}
