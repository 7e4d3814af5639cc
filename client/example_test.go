package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/signerd/signerd/client"
)

func ExampleDial() {
	conn, err := client.Dial(target) // "unix:///run/signerd/app.sock"
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	fmt.Println("nothing is sent before the first call:", conn.GetState())
	// Output: nothing is sent before the first call: IDLE
}

func ExampleWithTLSFiles() {
	_, err := client.Dial("signerd.internal:8443", client.WithTLSFiles("ca.pem", "client.pem", "client.key"))
	fmt.Println(errors.Is(err, os.ErrNotExist))
	// Output: true
}

func ExampleNewNOAH() {
	noah, err := client.NewNOAH(signerd, "noah-app", client.Config{BaseURLs: []string{noahURL}}) // "https://api.sandbox.noah.com"
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &http.Client{Transport: noah}
	resp, err := c.Post(noahURL+"/v1/checkout/payin/fiat?Note=caf%C3%A9%20au+lait", "application/json", strings.NewReader(`{"FiatAmount":"10.50"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

func ExampleNewNoba() {
	noba, err := client.NewNoba(signerd, "noba-app", client.Config{
		BaseURLs: []string{nobaURL},
		Warn:     func(_ *http.Request, warnings []string) { fmt.Println("a warning:", len(warnings) > 0) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &http.Client{Transport: noba}
	for _, body := range []string{`{"amount":"100"}`, `{ "amount": "100" }`} {
		resp, err := c.Post(nobaURL+"/v1/transactions", "application/json", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// 200 OK
	// a warning: true
	// 401 Unauthorized
}

func ExampleNewNoon() {
	noon, err := client.NewNoon(signerd, "noon-app", client.Config{BaseURLs: []string{noonURL}}) // "https://noon-api-gateway.noon.partners"
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := (&http.Client{Transport: noon}).Get(noonURL + "/identity/v1/whoami")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

func ExampleError() {
	noah, err := client.NewNOAH(signerd, "no-such-key", client.Config{BaseURLs: []string{noahURL}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = (&http.Client{Transport: noah}).Get(noahURL + "/v1/transactions")
	if refused := (*client.Error)(nil); errors.As(err, &refused) {
		fmt.Println(refused.Method, refused.Reason, refused.RecordID != "")
	}
	// Output: GET KEY_NOT_FOUND true
}
