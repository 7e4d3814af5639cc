// Command signerd-kms-file is a Kubernetes KMS v2 plugin whose keys are files, for development and tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	kmsv2 "k8s.io/kms/apis/v2"

	"github.com/signerd/signerd/internal/kmsfile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, pflag.ErrHelp) {
		_, _ = fmt.Fprintf(os.Stderr, "signerd-kms-file: %v\n", err)
		os.Exit(1)
	}
}

// run is main without the process: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := pflag.NewFlagSet("signerd-kms-file", pflag.ContinueOnError)
	dir := flags.String("keys", "", "`DIR` of the keys 1.key, 2.key and so on")
	socket := flags.String("socket", "", "Unix `SOCKET` to serve on, for this user alone")
	rotate := flags.Bool("rotate", false, "make the next key, which encrypts from then on, and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" || (*socket == "") != *rotate || flags.NArg() > 0 {
		return errors.New("usage: signerd-kms-file --keys DIR (--rotate | --socket SOCKET)")
	}
	plugin := &kmsfile.Plugin{Dir: *dir}
	if *rotate {
		return plugin.Rotate()
	}
	// One that was killed leaves its socket behind.
	if err := os.Remove(*socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", *socket)
	unix.Umask(old)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	kmsv2.RegisterKeyManagementServiceServer(s, plugin)
	context.AfterFunc(ctx, s.GracefulStop)
	_, _ = fmt.Fprintf(stdout, "serving KMS v2 on %s\n", *socket)
	return s.Serve(l)
}
