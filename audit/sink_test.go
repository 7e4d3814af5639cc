package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// place is where lines are copied to. It fails or blocks where a test says so.
type place struct {
	mu    sync.Mutex
	text  bytes.Buffer
	err   error
	block chan struct{} // writing waits for it to be closed; nil for no wait
	opens int
}

func (p *place) open() (io.WriteCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opens++
	return p, p.err
}

func (p *place) Write(text []byte) (int, error) {
	p.mu.Lock()
	block := p.block
	p.mu.Unlock()
	if block != nil {
		<-block
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	return p.text.Write(text)
}

func (p *place) Close() error { return nil }

func (p *place) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *place) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Split(strings.TrimSuffix(p.text.String(), "\n"), "\n")
}

// big lines fill the queue soon.
var big = []byte(strings.Repeat("x", 64<<10-1))

const fill = copyBytes / (64 << 10)

func TestLinesAreCopiedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c := NewCopy(p.open, nil)
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint("line ", i))
			c.Line([]byte(want[i]))
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.lines(); strings.Join(got, "|") != strings.Join(want, "|") || c.Lost() != 0 || p.opens != 1 {
			t.Errorf("%q, lost %d, opened %d times", got, c.Lost(), p.opens)
		}
		c.Line([]byte("late"))
		if c.Lost() != 1 {
			t.Error("a line after the end was not counted as lost")
		}
	})
}

func TestAWriterThatBlocksForEverStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{block: make(chan struct{})}
		var told []string
		c := NewCopy(p.open, func(lost uint64, err error) { told = append(told, fmt.Sprint(lost, err)) })
		for range 3 * fill {
			c.Line(big)
		}
		if lost := c.Lost(); lost != 2*fill {
			t.Errorf("%d lines were lost, want %d", lost, 2*fill)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		close(p.block)
		synctest.Wait()
		if lines := p.lines(); lines[1] != fmt.Sprintf(`{"lost":%d}`, 2*fill) || len(lines) != fill+1 {
			t.Errorf("%d lines were copied, the second is %.30s", len(lines), lines[1])
		}
		if strings.Join(told, ",") != "1 <nil>,0 <nil>" {
			t.Errorf("told of %q", told)
		}
	})
}

func TestAWriterThatComesBackIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		down := errors.New("down")
		var told []error
		c := NewCopy(p.open, func(_ uint64, err error) { told = append(told, err) })
		c.Line([]byte("first"))
		synctest.Wait()
		p.fail(down)
		for range fill + 5 {
			c.Line(big)
			synctest.Wait()
		}
		time.Sleep(time.Hour) // of the bubble's clock
		p.mu.Lock()
		opens := p.opens
		p.mu.Unlock()
		if opens < 300 || opens > 400 {
			t.Errorf("opened %d times in an hour, want every 10 seconds", opens)
		}
		p.fail(nil)
		time.Sleep(copyRetryMax)
		c.Line([]byte("last"))
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		lines := p.lines()
		if lines[0] != "first" || lines[1] != `{"lost":5}` || lines[2] != string(big) || len(lines) != fill+3 || lines[fill+2] != "last" {
			t.Errorf("%d lines were copied: %.200q", len(lines), lines)
		}
		if len(told) != 2 || !errors.Is(told[0], down) || told[1] != nil {
			t.Errorf("told of %v", told)
		}
	})
}

// picky takes no line that is long.
type picky struct{ *place }

func (p picky) Write(text []byte) (int, error) {
	if len(text) > 100 {
		return 0, errors.New("too long")
	}
	return p.place.Write(text)
}

func TestALineThatIsNeverTakenIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		c := NewCopy(func() (io.WriteCloser, error) { return picky{p}, nil }, nil)
		for _, line := range [][]byte{[]byte("a"), big, []byte("b")} {
			c.Line(line)
		}
		time.Sleep(time.Minute) // of the bubble's clock
		if got := strings.Join(p.lines(), "|"); got != `a|{"lost":1}|b` {
			t.Errorf("copied: %s", got)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestClosingGivesUpLinesThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{err: errors.New("down")}
		c := NewCopy(p.open, nil)
		for range 3 {
			c.Line([]byte("line"))
		}
		if err := c.Close(t.Context()); err != nil || c.Lost() != 3 {
			t.Errorf("%v, lost %d", err, c.Lost())
		}
	})
}

func TestSyslogMayGoAndComeBack(t *testing.T) {
	folder, err := os.MkdirTemp("", "s") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "log")
	listen := func() *net.UnixConn {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	expect := func(conn *net.UnixConn, want string) {
		t.Helper()
		text := make([]byte, 1<<16)
		n, err := conn.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		// Facility auth (4) and severity info (6).
		if got := string(text[:n]); !strings.HasPrefix(got, "<38>") || !strings.Contains(got, " signerd[") || !strings.HasSuffix(got, ": "+want+"\n") {
			t.Fatalf("syslog had %q, want %q", got, want)
		}
	}
	conn := listen()
	failed := make(chan struct{}, 1)
	c := NewCopy(func() (io.WriteCloser, error) {
		w, err := syslog.Dial("unixgram", path, syslog.LOG_AUTH|syslog.LOG_INFO, "signerd")
		if err != nil {
			select {
			case failed <- struct{}{}:
			default:
			}
			return nil, err
		}
		return w, nil
	}, nil)
	c.Line([]byte("before"))
	expect(conn, "before")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	c.Line([]byte("meanwhile"))
	<-failed
	conn = listen()
	defer conn.Close()
	expect(conn, "meanwhile")
	c.Line([]byte("after"))
	expect(conn, "after")
	if err := c.Close(t.Context()); err != nil || c.Lost() != 0 {
		t.Errorf("%v, lost %d", err, c.Lost())
	}
}
