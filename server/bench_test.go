package server_test

import (
	"context"
	"strconv"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func BenchmarkSignNoahES384(b *testing.B) {
	r := start(b, setup{})
	r.importedNOAH(b, "a")
	benchmark(b, r, signerdv1.SignerService_SignNoahRequest_FullMethodName, &signerdv1.SignNoahRequestRequest{
		Key: "a", Method: "POST", Path: "/v1/checkout/buy?PageSize=20", Content: body(`{"CryptoCurrency":"USDC_TEST","FiatAmount":"100"}`),
	}, &signerdv1.SignNoahRequestResponse{})
}

func BenchmarkComputeNoba(b *testing.B) {
	r := start(b, setup{})
	r.importedNoba(b, "a")
	benchmark(b, r, signerdv1.SignerService_ComputeNobaSignature_FullMethodName, &signerdv1.ComputeNobaSignatureRequest{
		Key: "a", Method: "POST", Path: "/v1/transactions", Body: []byte(`{"amount":"100","currency":"USD"}`),
	}, &signerdv1.ComputeNobaSignatureResponse{})
}

// benchmark compares one request at a time and many through the socket with the same work without a connection.
func benchmark(b *testing.B, r *rig, path string, in, out proto.Message) {
	b.Run("socket", func(b *testing.B) {
		b.ReportAllocs()
		ctx := as(b, operator)
		for b.Loop() {
			must(b, r.conn.Invoke(ctx, path, in, out))
		}
	})
	b.Run("socket, in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(loop *testing.PB) {
			ctx, out := as(b, operator), proto.CloneOf(out)
			for loop.Next() {
				if err := r.conn.Invoke(ctx, path, in, out); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("in process", func(b *testing.B) {
		b.ReportAllocs()
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(callerHeader, strconv.Itoa(operator)))
		for b.Loop() {
			_, err := r.server.Invoke(ctx, path, in)
			must(b, err)
		}
	})
}
