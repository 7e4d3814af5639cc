package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sys/unix"
)

// noahClaims is NOAH's payload, written a second time from the partner's page: the program under test is not asked what is right.
type noahClaims struct {
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	BodyHash string `json:"bodyHash"`

	jwt.RegisteredClaims `json:"-"` // for its methods, which the library wants
}

// signJWT is the raw operation of a NOAH key: one token over a request whose body is hashed already.
func signJWT(method jwt.SigningMethod, key *ecdsa.PrivateKey, bodyHash string) (string, error) {
	now := time.Now().Unix()
	return jwt.NewWithClaims(method, noahClaims{
		Audience: noahAudience, IssuedAt: now, Expires: now + 300, Method: requestMethod, Path: noahPath, BodyHash: bodyHash,
	}).SignedString(key)
}

// computeHMAC is the raw operation of a Noba key. The key's state is made each time.
func computeHMAC(secret, message []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(message)
	return hex.EncodeToString(mac.Sum(nil))
}

// recordBytes is about the length of a record of SignNoahRequest.
const recordBytes = 700

// appendDurably gives the raw operation of an audit log: one line of a record's length, written at the end of a file and made durable.
// The file is made in a folder that somebody else removes; done closes it.
func appendDurably(dir string) (do func() error, done func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, nameFsync), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	line := []byte(strings.Repeat("x", recordBytes-1) + "\n")
	return func() error {
		_, err := f.Write(line)
		if err != nil {
			return err
		}
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Fdatasync(int(f.Fd()))
		}
		return err
	}, f.Close, nil
}

// batch is how many raw computations are done from one look at the clock to the next, which is not free either.
const batch = 16

// measureRaw does the operation over and over on one goroutine, so many from one look at the clock to the next; only where it is one, it
// says how long it took. All CPU time of this process counts, so that collecting its garbage does too.
func measureRaw(ctx context.Context, do func() error, batch int, window time.Duration) (sample, error) {
	if _, err := repeat(ctx, do, batch, warmUp); err != nil {
		return sample{}, err
	}
	runtime.GC()
	began := time.Now()
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	took, err := repeat(ctx, do, batch, window)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	n := len(took) * batch
	s := sample{cpu: (after - before) / time.Duration(n), perSecond: float64(n) / time.Since(began).Seconds()}
	if batch == 1 {
		slices.Sort(took)
		s.p50, s.p99 = percentile(took, 50), percentile(took, 99)
	}
	return s, nil
}

// repeat gives how long each batch took; there is at least one.
func repeat(ctx context.Context, do func() error, batch int, window time.Duration) (took []time.Duration, err error) {
	now := time.Now()
	for end := now.Add(window); len(took) == 0 || now.Before(end); {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for range batch {
			if err := do(); err != nil {
				return nil, err
			}
		}
		before := now
		now = time.Now()
		took = append(took, now.Sub(before))
	}
	return took, nil
}
