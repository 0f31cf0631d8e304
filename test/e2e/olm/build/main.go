// Command build builds what the test with OLM needs, unless it is in the cache, and prints its directory.
package main

import (
	"context"
	"fmt"
	"os"

	"metallb.io/operator/test/e2e/olm"
)

func main() {
	programs, err := olm.Build(context.Background(), nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "olm:", err)
		os.Exit(1)
	}
	fmt.Println(programs)
}
