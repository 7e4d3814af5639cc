package noah_test

import (
	"testing"
	"time"

	"github.com/signerd/signerd/upstream/noah"
)

func BenchmarkSign(b *testing.B) {
	for _, algorithm := range []string{"ES384", "ES256"} {
		b.Run(algorithm, func(b *testing.B) {
			a := newAccount(b, algorithm)
			r, err := noah.NewRequest(noah.RequestParams{Method: "POST", Path: "/v1/transactions", Body: []byte(`{"amount":"1.00"}`)})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := a.Sign(r, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
