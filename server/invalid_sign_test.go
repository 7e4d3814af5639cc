package server_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// wrongNames are no key names.
var wrongNames = []string{"", "A", "a_b", "-a", "a-", "a.b", "a/b", "a\n", " a", "ä", strings.Repeat("a", 64), "apikey_sandbox_x"}

var wrongMethods = []string{"", " ", "GET ", "G\x00T", "GET\r\nX: y", "GÉT", strings.Repeat("G", 65)}

// wrongPaths are wrong for both partners.
var wrongPaths = []string{"", "v1", "//host/v1", "https://host/v1", "/v1#f", "/v 1", "/v1\n", "/v1\x7f", "/%", "/%2", "/%zz", "/ä", "/a\\b",
	"/" + strings.Repeat("a", 16384)}

func invalidNOAH() []invalid {
	var out []invalid
	add := func(name, field string, edit func(*signerdv1.SignNoahRequestRequest)) {
		in := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1"}
		edit(in)
		out = append(out, invalid{name, in, field})
	}
	for _, s := range wrongNames {
		add("key "+s, "key", func(in *signerdv1.SignNoahRequestRequest) { in.Key = s })
	}
	for _, s := range wrongMethods {
		add("method "+s, "method", func(in *signerdv1.SignNoahRequestRequest) { in.Method = s })
	}
	for _, s := range append(wrongPaths, "/v1?&a=b", "/v1?a=b&", "/v1?a&&b", "/v1?a=%", "/v1?a=%ff", "/v1?a=b#c") {
		add("path "+s, "path", func(in *signerdv1.SignNoahRequestRequest) { in.Path = s })
	}
	for name, v := range wrongValues() {
		add("query_params "+name, "query_params", func(in *signerdv1.SignNoahRequestRequest) {
			in.QueryParams = &structpb.Struct{Fields: map[string]*structpb.Value{"good": structpb.NewStringValue("x"), "bad": v}}
		})
	}
	add("query_params beside a query", "query_params", func(in *signerdv1.SignNoahRequestRequest) {
		in.Path = "/v1?a=b"
		in.QueryParams = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStringValue("b")}}
	})
	for _, n := range []int{0, 1, 31, 33, 64} {
		add("body_sha256", "body_sha256", func(in *signerdv1.SignNoahRequestRequest) {
			in.Content = &signerdv1.SignNoahRequestRequest_BodySha256{BodySha256: bytes.Repeat([]byte{1}, n)}
		})
	}
	for name, d := range wrongTTLs() {
		add("ttl "+name, "ttl", func(in *signerdv1.SignNoahRequestRequest) { in.Ttl = d })
	}
	return out
}

func wrongValues() map[string]*structpb.Value {
	list := func(values ...*structpb.Value) *structpb.Value {
		return structpb.NewListValue(&structpb.ListValue{Values: values})
	}
	return map[string]*structpb.Value{
		"null":                structpb.NewNullValue(),
		"no kind":             {},
		"object":              structpb.NewStructValue(&structpb.Struct{}),
		"NaN":                 structpb.NewNumberValue(math.NaN()),
		"infinity":            structpb.NewNumberValue(math.Inf(1)),
		"minus infinity":      structpb.NewNumberValue(math.Inf(-1)),
		"2^53":                structpb.NewNumberValue(1 << 53),
		"-2^53":               structpb.NewNumberValue(-1 << 53),
		"the largest number":  structpb.NewNumberValue(math.MaxFloat64),
		"list in a list":      list(list()),
		"null in a list":      list(structpb.NewStringValue("a"), structpb.NewNullValue()),
		"no kind in a list":   list(&structpb.Value{}),
		"object in a list":    list(structpb.NewStructValue(nil)),
		"NaN in a list":       list(structpb.NewNumberValue(math.NaN())),
		"list without values": nested(3),
	}
}

// nested is a list in a list, and so on.
func nested(depth int) *structpb.Value {
	v := structpb.NewListValue(nil)
	for range depth {
		v = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{v}})
	}
	return v
}

func wrongTTLs() map[string]*durationpb.Duration {
	return map[string]*durationpb.Duration{
		"zero":                  {},
		"too long":              durationpb.New(901 * time.Second),
		"a little too long":     {Seconds: 900, Nanos: 1},
		"negative":              durationpb.New(-5 * time.Second),
		"a fraction":            durationpb.New(1500 * time.Millisecond),
		"too short":             {Nanos: 999_999_999},
		"a nanosecond more":     {Seconds: 5, Nanos: 1},
		"the largest":           {Seconds: math.MaxInt64, Nanos: math.MaxInt32},
		"the smallest":          {Seconds: math.MinInt64, Nanos: math.MinInt32},
		"2^62 seconds":          {Seconds: 1 << 62},
		"-2^62 seconds":         {Seconds: -1 << 62},
		"2^64 ns and a second":  {Seconds: 18446744074, Nanos: -709551616 + 1_000_000_000},
		"nanos of another sign": {Seconds: 10, Nanos: -1_000_000_000},
		"too many nanos":        {Seconds: 10, Nanos: 1_000_000_000},
		"seconds in nanos":      {Seconds: 0, Nanos: 2_000_000_000},
		"against each other":    {Seconds: -5, Nanos: 1_000_000_000},
	}
}

func invalidNoba(r *rig, t *testing.T) []invalid {
	r.imported(t, "noba-prod", "noba", prod, newNoba().material())
	now := r.clock.Now().UnixMilli()
	var out []invalid
	add := func(name, field string, edit func(*signerdv1.ComputeNobaSignatureRequest)) {
		in := &signerdv1.ComputeNobaSignatureRequest{Key: "noba-prod", Method: "GET", Path: "/v1"}
		edit(in)
		out = append(out, invalid{name, in, field})
	}
	for _, s := range wrongNames {
		add("key "+s, "key", func(in *signerdv1.ComputeNobaSignatureRequest) { in.Key = s })
	}
	for _, s := range wrongMethods {
		add("method "+s, "method", func(in *signerdv1.ComputeNobaSignatureRequest) { in.Method = s })
	}
	for _, s := range append(wrongPaths, "/v1?a=b#c", "/v1?a b") {
		add("path "+s, "path", func(in *signerdv1.ComputeNobaSignatureRequest) { in.Path = s })
	}
	for _, s := range []string{" ", "null", "1", `"x"`, "x", "{", `{"a":1}x`, `{"a":1}{}`, "[1,]", "{\"a\":\"\xff\"}", "\ufeff{}", "a=b",
		strings.Repeat("[", 20000) + strings.Repeat("]", 20000)} {
		add("body "+s[:1], "body", func(in *signerdv1.ComputeNobaSignatureRequest) { in.Body = []byte(s) })
	}
	for _, millis := range []int64{-1, math.MinInt64, 1, now / 1000, now - 300_001, now + 300_001, math.MaxInt64} {
		add("timestamp", "timestamp_millis", func(in *signerdv1.ComputeNobaSignatureRequest) { in.TimestampMillis = &millis })
	}
	add("the testing value for prod", "timestamp_millis", func(in *signerdv1.ComputeNobaSignatureRequest) { in.TimestampMillis = proto.Int64(0) })
	return out
}
