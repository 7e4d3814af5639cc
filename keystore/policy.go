package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signerd/signerd/policy"
)

// MaxPolicyBytes bounds a stored policy.
const MaxPolicyBytes = 16 << 20

// StoredPolicy is the policy as it was at one generation. It is immutable; without any it is the zero value, whose Policy
// allows nobody.
type StoredPolicy struct {
	// Policy is the compiled document; never nil in what View gives.
	Policy *policy.Policy
	// Document is what was stored. It is not to be changed.
	Document []byte
	// Generation is the store's counter at the policy's last change; 0 while there is none.
	Generation uint64
	UpdateTime time.Time
	// Author is the caller that stored it.
	Author string
}

// policyRecord is the policy as it is sealed.
type policyRecord struct {
	Format     int       `json:"format"`
	Document   []byte    `json:"document"`
	UpdateTime time.Time `json:"update_time"`
	Author     string    `json:"author"`
}

// View is keys and policy as they were at one moment. It is immutable; the zero value is that of an empty store.
type View struct{ s *snapshot }

// View gives what is in force now. It takes no lock.
func (k *Keystore) View() View { return View{k.current.Load()} }

// Lookup finds a key by name, or returns nil.
func (v View) Lookup(name string) *Key {
	if v.s == nil {
		return nil
	}
	return v.s.keys[name]
}

// Policy is the policy in force.
func (v View) Policy() StoredPolicy {
	if v.s == nil || v.s.policy == nil {
		return StoredPolicy{Policy: &policy.Policy{}}
	}
	return *v.s.policy
}

// SetPolicy replaces the policy by a document, which Config.Compile has to accept. edited is the generation that the
// document was made from, 0 where there was no policy; any other than the present one is ErrConflict. Errors: those of
// Config.Compile, ErrConflict, ErrUnavailable.
func (k *Keystore) SetPolicy(ctx context.Context, by Actor, edited uint64, document []byte) (StoredPolicy, error) {
	if len(document) > MaxPolicyBytes {
		return StoredPolicy{}, fmt.Errorf("a policy of %d bytes: at most %d can be stored", len(document), MaxPolicyBytes)
	}
	// Outside the lock, so that a broken or large document keeps nobody waiting.
	compiled, err := k.compile(document)
	if err != nil {
		return StoredPolicy{}, err
	}
	stored := StoredPolicy{Policy: compiled, Document: document, Author: string(by)}
	err = k.changing(ctx, func(s *snapshot) error {
		if now := (View{s}).Policy().Generation; now != edited {
			return ErrConflict
		}
		stored.UpdateTime = k.config.now()
		plaintext, err := encode(policyRecord{recordFormat, document, stored.UpdateTime, stored.Author})
		if err != nil {
			return err
		}
		return k.commit(ctx, s, namePolicy, plaintext, func(r Record) (func(*snapshot), error) {
			stored.Generation = r.Generation
			return func(n *snapshot) { n.policy = &stored }, nil
		})
	})
	if err != nil {
		return StoredPolicy{}, err
	}
	return stored, nil
}

func (k *Keystore) compile(document []byte) (*policy.Policy, error) {
	compiled, err := k.config.Compile(document)
	if err == nil && compiled == nil {
		return nil, errors.New("nothing came of compiling a policy")
	}
	return compiled, err
}

// openPolicy turns a stored record into a policy that decides.
func (k *Keystore) openPolicy(s *snapshot, r Record) (*StoredPolicy, error) {
	plaintext, err := s.sealer.open(r.Name, r.Generation, r.Sealed)
	if err != nil {
		return nil, err
	}
	var rec policyRecord
	if err := decode(plaintext, &rec); err != nil {
		return nil, err
	}
	if rec.Format != recordFormat {
		return nil, fmt.Errorf("its format is %d; this program reads %d", rec.Format, recordFormat)
	}
	compiled, err := k.compile(rec.Document)
	if err != nil {
		return nil, fmt.Errorf("this program cannot use it: %w", err)
	}
	return &StoredPolicy{Policy: compiled, Document: rec.Document, Generation: r.Generation, UpdateTime: rec.UpdateTime, Author: rec.Author}, nil
}
