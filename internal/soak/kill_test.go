package soak

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/audit"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

const (
	clients     = 8
	connections = 4
	// mostAnswers is how many answers there are at most, clients' last ones aside, before a kill.
	mostAnswers = 800
	// oneChange is how many answers there are for each change that an operator makes.
	oneChange = 40
)

// signed is an answer that a client received.
type signed struct {
	id      string
	headers map[string]string // the SHA-256 of each, in hexadecimal
}

// killing is a test's signerd and what clients know of it.
type killing struct {
	*signerd
	random   *mathrand.Rand
	operator operator
	since    uint64 // the first record of the round
	answers  []signed
	torn     int64
	kills    int
	starting int // kills while signerd started, or had just
}

func TestEveryAnswerIsOnRecordWheneverSignerdIsKilled(t *testing.T) {
	kills := 10
	if soak {
		kills = 200
	}
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the seed was %d", seed)
		}
	})
	k := &killing{signerd: install(t, "audit: {dir: audit, max_file_bytes: 1048576}"), random: mathrand.New(mathrand.NewPCG(seed, 1))}
	k.start(t)
	k.serving(t)
	k.prepare(t)
	for k.kills < kills {
		k.round(t)
	}
	last := k.dial(t, "admin.sock")
	k.verify(t, last)
	k.stop(t)
	// What was right after each kill still is after all of them.
	all := readLog(t, k.path("audit"), 0)
	wantOnRecord(t, all, k.answers)
	files, compressed := logFiles(t, k.path("audit"))
	if compressed == 0 {
		t.Error("no file was compressed: too little was recorded")
	}
	t.Logf("%d kills, %d of them while it started: %d answers and %d changes checked, %d records in %d files, %d bytes of unfinished lines removed",
		k.kills, k.starting, len(k.answers), k.operator.made, len(all), len(files), k.torn)
}

// prepare makes what clients call for.
func (k *killing) prepare(t *testing.T) {
	t.Helper()
	conn := k.dial(t, "admin.sock")
	caller := fmt.Sprintf("unix:uid=%d", os.Geteuid())
	setFirstPolicy(t, conn, caller)
	importNOAH(t, conn, "noah-a", elliptic.P256())
	importNOAH(t, conn, "noah-b", elliptic.P256())
	importKey(t, conn, "noba-a", "noba", map[string][]byte{"api_key": []byte(rand.Text()), "secret": []byte(rand.Text())})
	k.operator = operator{key: "noah-b", caller: caller, tried: make(map[string]string)}
	k.operator.now = k.operator.look(t, conn)
	k.since = uint64(len(readLog(t, k.path("audit"), 0)))
}

// round has clients sign until signerd is killed, starts it again, and looks for what they were given.
func (k *killing) round(t *testing.T) {
	t.Helper()
	got := k.load(t)
	k.kills++
	if k.random.IntN(4) == 0 {
		// Killed again before it has recovered, or just after.
		k.start(t)
		k.wait(t, time.Duration(k.random.IntN(30_000))*time.Microsecond)
		k.kill(t)
		k.kills++
		k.starting++
	}
	k.start(t)
	k.serving(t)
	conn := k.dial(t, "admin.sock")
	defer func() { _ = conn.Close() }()
	k.verify(t, conn)
	records := readLog(t, k.path("audit"), k.since)
	k.since = records[len(records)-1].N + 1
	for _, r := range records {
		if r.Start != nil {
			k.torn += r.Start.TornBytes
		}
	}
	wantOnRecord(t, records, got)
	k.operator.check(t, conn, records)
	if t.Failed() {
		t.FailNow()
	}
	k.answers = append(k.answers, got...)
}

// wait is for a moment that means nothing to signerd.
func (k *killing) wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-k.exited:
		t.Fatal("signerd ended by itself")
	}
}

// load is what clients received until signerd was killed, at a random moment.
func (k *killing) load(t *testing.T) []signed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var killed atomic.Bool
	var count atomic.Int64
	enough, target := make(chan struct{}), int64(1+k.random.IntN(mostAnswers))
	turns := make(chan struct{}, 1) // the operator's

	var conns []*grpc.ClientConn
	for range connections {
		conn := k.dial(t, "app.sock")
		defer func() { _ = conn.Close() }()
		conns = append(conns, conn)
	}
	var calling sync.WaitGroup
	received := make([][]signed, clients)
	for i := range clients {
		random := mathrand.New(mathrand.NewPCG(k.random.Uint64(), 2))
		calling.Go(func() {
			for {
				a, err := sign(ctx, conns[i%connections], random)
				if err != nil {
					wantCutOff(t, err, &killed)
					return
				}
				received[i] = append(received[i], a)
				switch n := count.Add(1); {
				case n == target:
					close(enough)
				case n%oneChange == 0:
					select {
					case turns <- struct{}{}:
					default: // still at the last one
					}
				}
			}
		})
	}
	admin := k.dial(t, "admin.sock")
	defer func() { _ = admin.Close() }()
	var operating sync.WaitGroup
	operating.Go(func() {
		for range turns {
			if err := k.operator.change(ctx, admin); err != nil {
				wantCutOff(t, err, &killed)
				return
			}
		}
	})
	select {
	case <-enough:
		k.wait(t, time.Duration(k.random.IntN(4000))*time.Microsecond)
	case <-k.exited:
		t.Error("signerd ended by itself")
	}
	killed.Store(true)
	k.kill(t)
	calling.Wait()
	close(turns)
	operating.Wait()
	var all []signed
	for _, answers := range received {
		all = append(all, answers...)
	}
	return all
}

// wantCutOff wants an error to be the end of the process, and nothing that signerd said.
func wantCutOff(t *testing.T, err error, killed *atomic.Bool) {
	t.Helper()
	if st := status.Convert(err); !killed.Load() || st.Code() != codes.Unavailable || len(st.Details()) > 0 {
		t.Errorf("a call failed, after the kill: %v: %v %v", killed.Load(), err, st.Details())
	}
}

// sign asks for any signature.
func sign(ctx context.Context, conn *grpc.ClientConn, random *mathrand.Rand) (signed, error) {
	var got interface {
		GetRecordId() string
		GetHeaders() map[string]string
	}
	var err error
	client := signerdv1.NewSignerServiceClient(conn)
	// Records of all lengths, so that lines are cut anywhere.
	path := "/v1/" + strings.Repeat("x", random.IntN(3000))
	switch random.IntN(3) {
	case 0:
		got, err = client.SignNoahRequest(ctx, &signerdv1.SignNoahRequestRequest{Key: "noah-a", Method: "GET", Path: path})
	case 1:
		got, err = client.SignNoahRequest(ctx, &signerdv1.SignNoahRequestRequest{Key: "noah-b", Method: "POST", Path: path,
			Content: &signerdv1.SignNoahRequestRequest_Body{Body: []byte(`{}`)}})
	default:
		got, err = client.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: "noba-a", Method: "GET", Path: path})
	}
	if err != nil {
		return signed{}, err
	}
	out := signed{got.GetRecordId(), make(map[string]string)}
	for name, value := range got.GetHeaders() {
		sum := sha256.Sum256([]byte(value))
		out.headers[name] = hex.EncodeToString(sum[:])
	}
	return out, nil
}

// wantOnRecord wants one record for each answer, which says what was handed out.
func wantOnRecord(t *testing.T, records []line, answers []signed) {
	t.Helper()
	calls := make(map[string][]audit.Record, len(records))
	for _, r := range records {
		if r.Kind == audit.KindCall {
			calls[r.ID] = append(calls[r.ID], r.Record)
		}
	}
	for _, a := range answers {
		if got := calls[a.id]; len(got) != 1 || got[0].Code != codes.OK.String() || len(a.headers) == 0 || !maps.Equal(got[0].Headers, a.headers) {
			t.Fatalf("a client was given %+v; on record is %+v", a, got)
		}
	}
}
