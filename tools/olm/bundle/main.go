// Command bundle completes what operator-sdk and opm generate for OLM, with what follows from other files of this project and
// what those tools leave open. `make bundle` and `make catalog` run it.
//
//	bundle finish   completes the bundle in -bundle
//	bundle channel  writes the upgrade graph of the catalog in -catalog
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say finish or channel")
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	var s sources
	fs.StringVar(&s.bundle, "bundle", "", "directory of the bundle")
	fs.StringVar(&s.base, "base", "", "the ClusterServiceVersion that the bundle's was generated from")
	fs.StringVar(&s.icon, "icon", "", "the icon, an SVG")
	fs.StringVar(&s.catalog, "catalog", "", "directory of the package in the catalog: a file for each released version")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "finish":
		return finish(s)
	case "channel":
		return writeChannel(s.catalog)
	}
	return fmt.Errorf("%q is not known: say finish or channel", args[0])
}
