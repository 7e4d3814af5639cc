// Command requestlines writes random requests as lines of JSON to standard output, for tests of clients in other languages; see package requestgen.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/signerd/signerd/internal/requestgen"
)

func main() {
	n := flag.Int("n", 1000, "how many")
	seed := flag.Uint64("seed", rand.Uint64(), "the same seed gives the same requests; by default a random one, which is printed to standard error")
	flag.Parse()
	fmt.Fprintln(os.Stderr, "requestlines: seed", *seed)
	if err := requestgen.Write(os.Stdout, *seed, *n); err != nil {
		fmt.Fprintln(os.Stderr, "requestlines:", err)
		os.Exit(1)
	}
}
