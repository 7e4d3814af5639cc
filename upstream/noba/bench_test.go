package noba_test

import (
	"testing"

	"github.com/signerd/signerd/upstream/noba"
)

func BenchmarkSign(b *testing.B) {
	c := newCredential(b, testKey, testSecret+testSecret)
	r, err := noba.NewRequest(noba.RequestParams{Method: "POST", Path: "/v1/transactions", Body: []byte(`{"amount":"1.00"}`)}, testTime)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.Sign(r, testTime)
	}
}
