// Command go calls NOAH, Noba and Noon with keys that signerd keeps; README.md says how to run it. It prints a line for each partner, its
// answer, and ends with 0 when all answered 200.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"google.golang.org/grpc"

	"github.com/signerd/signerd/client"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	names := os.Getenv("PARTNERS")
	if names == "" {
		names = "noah,noba,noon"
	}
	for name := range strings.SplitSeq(names, ",") {
		err = errors.Join(err, call(ctx, conn, name))
	}
	return err
}

// dial connects over a Unix socket, or over TLS where the address is host:port.
func dial() (*grpc.ClientConn, error) {
	address := os.Getenv("SIGNERD_ADDRESS")
	if strings.HasPrefix(address, "unix:") {
		return client.Dial(address)
	}
	return client.Dial(address, client.WithTLSFiles(os.Getenv("SIGNERD_TLS_CA"), os.Getenv("SIGNERD_TLS_CERT"), os.Getenv("SIGNERD_TLS_KEY")))
}

// call sends one request. What the Transport does is all that is special about it: the rest is any program's net/http.
func call(ctx context.Context, conn *grpc.ClientConn, name string) error {
	var transport *client.Transport
	var err error
	method, target, body := http.MethodPost, "", ""
	config := client.Config{BaseURLs: []string{os.Getenv(strings.ToUpper(name) + "_URL")}}
	key := os.Getenv(strings.ToUpper(name) + "_KEY")
	switch name {
	case "noah":
		transport, err = client.NewNOAH(conn, key, config)
		target, body = "/v1/checkout/payin/fiat?Note=caf%C3%A9%20au+lait&PageSize=20", `{"CustomerID":"c-1","FiatAmount":"10.50","Name":"Zoë"}`
	case "noba":
		config.Warn = func(_ *http.Request, warnings []string) { fmt.Fprintln(os.Stderr, "noba:", warnings) }
		transport, err = client.NewNoba(conn, key, config)
		target, body = "/v1/transactions?dry=1", `{"amount":"100","note":"Zoë"}`
	case "noon":
		transport, err = client.NewNoon(conn, key, config)
		method, target = http.MethodGet, "/identity/v1/whoami"
	default:
		return fmt.Errorf("there is no partner %q", name)
	}
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, config.BaseURLs[0]+target, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", name, err)
	}
	fmt.Println(name, resp.StatusCode, strings.TrimSpace(string(answer)))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", name, resp.Status)
	}
	return nil
}
