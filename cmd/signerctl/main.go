// Signerctl operates signerd: it manages keys, signs single requests and shows the service's status.
package main

import (
	"context"
	"os"

	"github.com/signerd/signerd/cmd/signerctl/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
