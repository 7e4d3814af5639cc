// Package client is for programs in Go that call NOAH, Noba or Noon with keys that signerd keeps: an http.RoundTripper for each partner, which
// asks signerd for a request's headers and sends it, and Dial, which connects to signerd.
//
// What is signed is what goes out: the target as net/http writes it, and the body's bytes, which are read once and sent as they were read. Requests to any
// other host than the partner's are refused before anything is signed, and so a redirect takes no header elsewhere; one within the host is followed by
// http.Client and signed again. The caller's request is never changed, and no header is ever logged or put into an error.
//
// It depends on gRPC and the generated stubs, and on nothing of signerd's own.
package client
