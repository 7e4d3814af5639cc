package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/server"
)

// echoCommand, with a folder, makes this program the echo: the least that a gRPC server can do with the same messages.
const echoCommand = "echo"

// answersFile holds what signerd answered, for the echo to repeat.
const answersFile = "answers.json"

// answers are encoded messages by RPC and key.
type answers map[string]map[string][]byte

// echo has an answer ready for each request, and looks at nothing in it but the key's name.
type echo struct {
	signerdv1.UnimplementedSignerServiceServer
	noah map[string]*signerdv1.SignNoahRequestResponse
	noba map[string]*signerdv1.ComputeNobaSignatureResponse
	noon map[string]*signerdv1.GetNoonSessionResponse
}

// SignNoahRequest implements signerdv1.SignerServiceServer.
func (e *echo) SignNoahRequest(_ context.Context, in *signerdv1.SignNoahRequestRequest) (*signerdv1.SignNoahRequestResponse, error) {
	return e.noah[in.GetKey()], nil
}

// ComputeNobaSignature implements signerdv1.SignerServiceServer.
func (e *echo) ComputeNobaSignature(_ context.Context, in *signerdv1.ComputeNobaSignatureRequest) (*signerdv1.ComputeNobaSignatureResponse, error) {
	return e.noba[in.GetKey()], nil
}

// GetNoonSession implements signerdv1.SignerServiceServer.
func (e *echo) GetNoonSession(_ context.Context, in *signerdv1.GetNoonSessionRequest) (*signerdv1.GetNoonSessionResponse, error) {
	return e.noon[in.GetKey()], nil
}

func loadEcho(dir string) (*echo, error) {
	text, err := os.ReadFile(filepath.Join(dir, answersFile))
	if err != nil {
		return nil, err
	}
	var from answers
	if err := json.Unmarshal(text, &from); err != nil {
		return nil, err
	}
	e := new(echo)
	var errs [3]error
	e.noah, errs[0] = decode[signerdv1.SignNoahRequestResponse](from[signerdv1.SignerService_SignNoahRequest_FullMethodName])
	e.noba, errs[1] = decode[signerdv1.ComputeNobaSignatureResponse](from[signerdv1.SignerService_ComputeNobaSignature_FullMethodName])
	e.noon, errs[2] = decode[signerdv1.GetNoonSessionResponse](from[signerdv1.SignerService_GetNoonSession_FullMethodName])
	return e, errors.Join(errs[:]...)
}

func decode[M any, P interface {
	*M
	proto.Message
}](encoded map[string][]byte) (map[string]*M, error) {
	out := make(map[string]*M)
	for key, text := range encoded {
		out[key] = new(M)
		if err := proto.Unmarshal(text, P(out[key])); err != nil {
			return nil, fmt.Errorf("the answer for %s: %w", key, err)
		}
	}
	return out, nil
}

// serveEcho serves on a Unix socket in dir and on a TCP port, whose address it prints, until stdin ends: so it ends with
// the program that started it, however that ends.
func serveEcho(dir string, stdin io.Reader, stdout io.Writer) error {
	e, err := loadEcho(dir)
	if err != nil {
		return err
	}
	certificates, err := serverTLS(dir)
	if err != nil {
		return err
	}
	local, err := net.Listen("unix", socketIn(dir, serverEcho))
	if err != nil {
		return err
	}
	remote, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	for _, s := range []struct {
		l       net.Listener
		options []grpc.ServerOption
	}{
		{local, nil},
		{remote, []grpc.ServerOption{grpc.Creds(credentials.NewTLS(certificates))}},
	} {
		g := grpc.NewServer(append(server.Limits{}.Transport(), s.options...)...)
		signerdv1.RegisterSignerServiceServer(g, e)
		go func() { failed <- g.Serve(s.l) }()
	}
	if _, err := fmt.Fprintln(stdout, remote.Addr()); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, stdin)
		failed <- err
	}()
	return <-failed
}

// startEcho starts this program as the echo, and returns the address of its TCP port.
func (r *rig) startEcho() (p *process, address string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(r.ctx, self, echoCommand, r.dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if p, err = r.start(cmd, stdin.Close); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("the echo did not start: %w", err), p.stop())
	}
	return p, strings.TrimSpace(line), nil
}
