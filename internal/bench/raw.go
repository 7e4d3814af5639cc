package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"
	"time"

	"github.com/golang-jwt/jwt/v5"
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

// batch is how many raw operations are done from one look at the clock to the next, which is not free either.
const batch = 16

// measureRaw does the operation over and over on one goroutine. All CPU time of this process counts, so that collecting
// its garbage does too.
func measureRaw(ctx context.Context, do func() error, window time.Duration) (sample, error) {
	if _, err := repeat(ctx, do, warmUp); err != nil {
		return sample{}, err
	}
	runtime.GC()
	began := time.Now()
	before, err := cpuTime(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	n, err := repeat(ctx, do, window)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	return sample{cpu: (after - before) / time.Duration(n), perSecond: float64(n) / time.Since(began).Seconds()}, nil
}

func repeat(ctx context.Context, do func() error, window time.Duration) (n int, err error) {
	for end := time.Now().Add(window); n == 0 || time.Now().Before(end); {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		for range batch {
			if err := do(); err != nil {
				return 0, err
			}
			n++
		}
	}
	return n, nil
}
