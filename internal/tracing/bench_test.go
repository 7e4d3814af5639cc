package tracing_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/signerd/signerd/internal/tracing"
)

// BenchmarkEcho is a request of nothing but gRPC. The collector, which the same process serves, costs its share too.
func BenchmarkEcho(b *testing.B) {
	c := collect(b, &collector{forgets: true}, "127.0.0.1", nil)
	for _, with := range []struct {
		name string
		conf tracing.Config
	}{
		{"no tracing", tracing.Config{}},
		{"ratio 0", tracing.Config{Endpoint: c.endpoint}},
		{"ratio 1%", tracing.Config{Endpoint: c.endpoint, SampleRatio: .01}},
		{"ratio 100%", tracing.Config{Endpoint: c.endpoint, SampleRatio: 1}},
	} {
		b.Run(with.name, func(b *testing.B) {
			r := start(b, with.conf, echo)
			in := wrapperspb.String("hello")
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(loop *testing.PB) {
				out := new(wrapperspb.StringValue)
				for loop.Next() {
					if err := r.conn.Invoke(b.Context(), echoMethod, in, out); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
