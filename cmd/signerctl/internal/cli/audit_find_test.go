package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func hashOf(value string) []byte {
	h := sha256.Sum256([]byte(value))
	return h[:]
}

// headerLog answers searches in a log of calls that were handed out these headers.
func headerLog(t *testing.T, calls ...map[string]string) *fake {
	t.Helper()
	var lines []string
	for i, headers := range calls {
		var pairs []string
		for name, value := range headers {
			pairs = append(pairs, fmt.Sprintf("%q:%q", name, hex.EncodeToString(hashOf(value))))
		}
		lines = append(lines, strings.Replace(numbered(i + 1)[i], `"code"`, `"headers":{`+strings.Join(pairs, ",")+`},"code"`, 1))
	}
	l := newLog(t, 1, lines...)
	return serveStreams(t, nil, streams{"ListRecords": func(stream grpc.ServerStream, req proto.Message) error {
		for i, line := range lines {
			if strings.Contains(line, hex.EncodeToString(req.(*adminv1.ListRecordsRequest).GetHeaderSha256())) {
				if err := stream.SendMsg(&adminv1.ListRecordsResponse{Records: l.records(i)}); err != nil {
					return err
				}
			}
		}
		return nil
	}})
}

func TestAuditFindSendsHashesAlone(t *testing.T) {
	const signature = "eyJhbGciOiJFUzM4NCJ9.e30.c2ln"
	f := headerLog(t, map[string]string{"Api-Signature": "another"}, map[string]string{"Api-Signature": signature})
	r := f.run(t, "", "audit", "find", "--header", writeFile(t, signature+"\n"))
	if r.code != 0 || r.stderr != "" || !strings.HasSuffix(r.stdout, "  "+recordID(1)+"\n") || strings.Count(r.stdout, "\n") != 2 {
		t.Errorf("got %+v", r)
	}
	f.wantRequests(t, &adminv1.ListRecordsRequest{HeaderSha256: hashOf(signature), Last: 20})
}

func TestAuditFindTakesHeaderLines(t *testing.T) {
	for _, tt := range []struct{ stdin, value string }{
		{"Api-Signature: eyJ", "eyJ"},
		{"\r\n  Api-Signature:\teyJ \r\n", "eyJ"},
		{"Cookie: a=b; c=d", "a=b; c=d"},
		{"name:with-colon", "name:with-colon"},
		{"1:2", "1:2"},
	} {
		f := headerLog(t, map[string]string{"H": tt.value})
		if r := f.run(t, tt.stdin, "audit", "find", "--header", "-"); r.code != 0 || strings.Count(r.stdout, "\n") != 2 {
			t.Errorf("%q: got %+v", tt.stdin, r)
		}
	}
	// A single cookie is no header's value.
	f := headerLog(t, map[string]string{"Cookie": "c=d"})
	if r := f.run(t, "Cookie: a=b; c=d", "audit", "find", "--header", "-"); r.code != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestAuditFindTellsWhenNothingIsFound(t *testing.T) {
	f := headerLog(t, map[string]string{"H": "there"})
	const hint = "hint: a value is found as a whole, exactly as signerd gave it; records that retention has deleted are not searched\n"
	for _, output := range []string{"text", "json"} {
		f.run(t, "secret", "audit", "find", "--header", "-", "-o", output).want(t, 1, "",
			"signerctl: finding calls by a header: nothing is found: no call on record was handed out this value\n"+hint)
	}
	f.run(t, "secret\nanother", "audit", "find", "--header", "-").want(t, 1, "",
		"signerctl: finding calls by a header: nothing is found: no call on record was handed out any of these 2 values\n"+hint)
	r := f.run(t, "secret\n\nthere\n", "audit", "find", "--header", "-")
	if r.code != 0 || r.stderr != "note: no call on record was handed out what is in line 1\n" || !strings.HasSuffix(r.stdout, recordID(0)+"\n") {
		t.Errorf("got %+v", r)
	}
}

func TestAuditFindShowsACallOnce(t *testing.T) {
	f := headerLog(t, map[string]string{"Api-Signature": "s", "X-Api-Key": "k"}, map[string]string{"X-Api-Key": "k"})
	r := f.run(t, "Api-Signature: s\nX-Api-Key: k\n", "audit", "find", "--header", "-", "-o", "json", "-n", "2")
	if r.code != 0 || strings.Count(r.stdout, "\n") != 2 || r.stderr != "note: of line 2 there may be more calls than the last 2: -n 0 shows all\n" {
		t.Errorf("got %+v", r)
	}
}

func TestAuditFindDoesNotBelieveEveryAnswer(t *testing.T) {
	l := newLog(t, 1, numbered(1)...)
	f := serveStreams(t, nil, streams{"ListRecords": parts(&adminv1.ListRecordsResponse{Records: l.records(0)})})
	f.run(t, "value", "audit", "find", "--header", "-").want(t, 1, "",
		"signerctl: finding calls by a header: signerd answered with record 0, which is of other headers\n")
}

func TestAuditFindBoundsWhatItReads(t *testing.T) {
	f := serve(t, nil)
	const what = "signerctl: reading --header: "
	const hint = "\nhint: --header wants the name of a file, or - for standard input\n"
	f.run(t, strings.Repeat("x", maxSecretBytes+1), "audit", "find", "--header", "-").want(t, 1, "", what+"it has more than 64 KiB"+hint)
	f.run(t, strings.Repeat("x\n", maxFindValues+1), "audit", "find", "--header", "-").want(t, 1, "", what+"it has more than 100 values\n")
	f.run(t, "\n \n", "audit", "find", "--header", "-").want(t, 1, "", what+"it holds no value\n")
	// Its name may be the value itself, typed where the file belongs.
	f.run(t, "", "audit", "find", "--header", "eyJsecret").want(t, 1, "", what+"no such file or directory"+hint)
	f.wantRequests(t)
}
