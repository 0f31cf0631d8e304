// Command kubectl-metallb is a plugin for kubectl: as "kubectl metallb" it helps users of MetalLB with what the resources
// alone do not show.
package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // something is wrong with the input
	exitUsage  = 2 // something is wrong with the command line
)

// streams are what a subcommand reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// subcommand is one of the plugin's.
type subcommand struct {
	// short is a line of help.
	short string
	// run returns an exit code.
	run func(args []string, s streams) int
}

var subcommands = map[string]subcommand{
	"convert": {"turn the ConfigMap of MetalLB up to 0.12 into resources", convert},
	"version": {"print the version of this plugin", printVersion},
}

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

func run(args []string, s streams) int {
	if len(args) == 0 {
		fmt.Fprint(s.err, usage())
		return exitUsage
	}
	switch name := args[0]; {
	case subcommands[name].run != nil:
		return subcommands[name].run(args[1:], s)
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, name):
		fmt.Fprint(s.out, usage())
		return exitOK
	default:
		fmt.Fprintf(s.err, "kubectl metallb: there is no subcommand %q\n\n%s", name, usage())
		return exitUsage
	}
}

func usage() string {
	text := "Usage: kubectl metallb SUBCOMMAND [flags]\n\nSubcommands:\n"
	for _, name := range slices.Sorted(maps.Keys(subcommands)) {
		text += fmt.Sprintf("  %-8s  %s\n", name, subcommands[name].short)
	}
	return text + "\n\"kubectl metallb SUBCOMMAND --help\" tells more of one.\n"
}

func printVersion(args []string, s streams) int {
	if len(args) > 0 {
		fmt.Fprintln(s.err, "Usage: kubectl metallb version")
		return exitUsage
	}
	fmt.Fprintln(s.out, version)
	return exitOK
}
