// Command lab runs a real Kubernetes cluster on this machine, in namespaces; see
// package lab, of which it is a thin shell. It is also, under names that begin
// with two underscores, the first process of each of the lab's machines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"metallb.io/operator/test/lab"
	"metallb.io/operator/test/lab/internal/pid1"
)

const usage = `lab: a real Kubernetes cluster on this machine, in network namespaces

The cluster:
  lab up [FLAGS]             bring it up and leave it running (builds first; lab up -h lists the flags)
  lab down                   end it and remove every trace of it
  lab status                 machines, addresses, nodes, where the logs are
  lab load IMAGE.tar...      load image archives (OCI or Docker) into every node

Looking around:
  lab kubectl ARGS...        kubectl with all rights
  lab kubeconfig             print the path of a kubeconfig
  lab exec MACHINE CMD...    run a command in node1.., cp, client, remote, router or switch
                             (the switch has the bridges br-lan, br-mgmt and br-uplink)

Making trouble:
  lab poweroff MACHINE       pull the plug of a node or of cp
  lab poweron MACHINE        switch it on again
  lab cut [-silent] [-net lan|mgmt|uplink] MACHINE
                             cut its cable; silently: the link still looks up
  lab uncut [-net lan|mgmt|uplink] MACHINE
  lab router frr|bird [CONFIG]
                             start BGP on the router; without CONFIG it peers with every node
  lab router stop

What it is made of:
  lab build                  build Kubernetes, etcd, containerd and the helpers, once
  lab assets                 print a directory with kube-apiserver, etcd and kubectl (KUBEBUILDER_ASSETS)
  lab packages [-missing] [-routers]
                             print the Debian packages that it needs

LAB_INSTANCE=1..9 makes another cluster beside the first. LAB_STATE (now %s) is where
its files and the nodes' disks are; LAB_CACHE, where what it builds is kept.
`

func main() {
	if len(os.Args) > 2 && (os.Args[1] == pid1.Enter || os.Args[1] == pid1.Init) {
		fmt.Fprintln(os.Stderr, pid1.Main(os.Args[1], os.Args[2]))
		os.Exit(1)
	}
	// A second signal ends the command at once; the janitor cleans up even then.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:])
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.ExitCode() > 0 {
		os.Exit(failed.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// commands that act on a running cluster.
var commands = map[string]func(ctx context.Context, c *lab.Cluster, args []string) error{
	"status": status,
	"load": func(ctx context.Context, c *lab.Cluster, args []string) error {
		for _, archive := range args {
			if err := c.LoadImage(ctx, archive); err != nil {
				return err
			}
		}
		return nil
	},
	"kubectl": func(ctx context.Context, c *lab.Cluster, args []string) error {
		cmd := c.KubectlCommand(ctx, args...)
		return syscall.Exec(cmd.Path, cmd.Args, cmd.Env) // signals are its own from here
	},
	"kubeconfig": func(_ context.Context, c *lab.Cluster, _ []string) error {
		fmt.Println(c.Kubeconfig())
		return nil
	},
	"exec": func(ctx context.Context, c *lab.Cluster, args []string) error {
		if len(args) < 2 {
			return errors.New("want a machine and a command: lab exec MACHINE CMD")
		}
		return c.ExecStreams(ctx, args[0], lab.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, args[1:]...)
	},
	"poweroff": onMachine(func(_ context.Context, c *lab.Cluster, machine string) error { return c.PowerOff(machine) }),
	"poweron":  onMachine(func(ctx context.Context, c *lab.Cluster, machine string) error { return c.PowerOn(ctx, machine) }),
	"cut":      cable,
	"uncut":    cable,
	"router":   router,
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprintf(os.Stderr, usage, lab.StateRoot())
		os.Exit(2)
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		fmt.Printf(usage, lab.StateRoot())
		return nil
	case lab.JanitorCommand:
		return lab.Janitor()
	case "up":
		return up(ctx, rest)
	case "down":
		return lab.Down(0)
	case "build":
		return lab.Build(ctx, nil)
	case "assets":
		dir, err := lab.Assets(ctx, nil)
		if err == nil {
			fmt.Println(dir)
		}
		return err
	case "packages":
		return packages(rest)
	}
	command, known := commands[name]
	if !known {
		return fmt.Errorf("no command %q; `lab help` lists them", name)
	}
	if name == "cut" || name == "uncut" {
		rest = args // one function for both
	}
	c, err := lab.Attach(0)
	if err != nil {
		return err
	}
	return command(ctx, c, rest)
}

func up(ctx context.Context, args []string) error {
	o := lab.Options{Detach: true}
	f := flag.NewFlagSet("lab up", flag.ExitOnError)
	f.IntVar(&o.Nodes, "nodes", 3, "how many nodes, 1 to 9")
	f.StringVar(&o.ProxyMode, "proxy", "nftables", "kube-proxy's mode: nftables or iptables")
	f.BoolVar(&o.SlowNodeFailure, "slow-node-failure", false, "keep Kubernetes' own times for noticing a dead node (some 50 s instead of 8)")
	f.StringVar(&o.KubeletConfig, "kubelet-config", "", "YAML added to every KubeletConfiguration")
	f.Func("apiserver-flag", "a flag for kube-apiserver, --name=value (repeatable)", func(v string) error {
		o.APIServerFlags = append(o.APIServerFlags, v)
		return nil
	})
	f.Func("controller-manager-flag", "a flag for kube-controller-manager, --name=value (repeatable)", func(v string) error {
		o.ControllerManagerFlags = append(o.ControllerManagerFlags, v)
		return nil
	})
	_ = f.Parse(args) // it exits on errors
	c, err := lab.Up(ctx, o)
	if err != nil {
		return err
	}
	return status(ctx, c, nil)
}

func status(ctx context.Context, c *lab.Cluster, _ []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	fmt.Printf("up since %s; cgroup v%d, kube-proxy %s, containerd's snapshotter %s\n",
		c.Started.Format(time.DateTime), c.CgroupVersion(), c.Options.ProxyMode, c.Snapshotter)
	fmt.Printf("kubeconfig %s\nlogs       %s\n\n", c.Kubeconfig(), c.LogDir("*"))
	fmt.Printf("%-8s %-7s %-8s %-6s %-17s %s\n", "MACHINE", "POWER", "NETWORK", "CABLE", "MAC", "ADDRESSES")
	for _, m := range c.Machines() {
		power := "-"
		if m.HasPower() {
			power = map[bool]string{true: "on", false: "off"}[c.On(m.Name)]
		}
		name := m.Name
		for _, on := range []lab.Network{lab.LAN, lab.Management, lab.Uplink} {
			nic, has := m.NICs[on]
			if !has {
				continue
			}
			fmt.Printf("%-8s %-7s %-8s %-6s %-17s %s %s\n", name, power, on, c.Cable(m.Name, on), nic.MAC, nic.IPv4, nic.IPv6)
			name, power = "", ""
		}
	}
	fmt.Println()
	cmd := c.KubectlCommand(ctx, "get", "nodes", "-o", "wide")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func onMachine(do func(ctx context.Context, c *lab.Cluster, machine string) error) func(context.Context, *lab.Cluster, []string) error {
	return func(ctx context.Context, c *lab.Cluster, args []string) error {
		if len(args) != 1 {
			return errors.New("want the name of one machine; `lab status` lists them")
		}
		return do(ctx, c, args[0])
	}
}

// cable is cut and uncut; args[0] says which.
func cable(ctx context.Context, c *lab.Cluster, args []string) error {
	f := flag.NewFlagSet("lab "+args[0], flag.ExitOnError)
	silent := f.Bool("silent", false, "lose frames while the link looks up")
	name := f.String("net", lab.LAN.String(), "which cable: lan, mgmt or uplink")
	_ = f.Parse(args[1:]) // it exits on errors
	all := []lab.Network{lab.LAN, lab.Management, lab.Uplink}
	i := slices.IndexFunc(all, func(n lab.Network) bool { return n.String() == *name })
	if i < 0 {
		return fmt.Errorf("no network %q; there are %v", *name, all)
	}
	how := lab.CarrierLoss
	if *silent {
		how = lab.Silent
	}
	return onMachine(func(_ context.Context, c *lab.Cluster, machine string) error {
		if args[0] == "uncut" {
			return c.MendCable(machine, all[i])
		}
		return c.CutCable(machine, all[i], how)
	})(ctx, c, f.Args())
}

func router(ctx context.Context, c *lab.Cluster, args []string) error {
	if len(args) == 1 && args[0] == "stop" {
		return c.StopRouter()
	}
	if len(args) < 1 || len(args) > 2 {
		return errors.New("want: lab router frr|bird [CONFIG], or lab router stop")
	}
	config := ""
	if len(args) == 2 {
		b, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		config = string(b)
	}
	return c.StartRouter(ctx, lab.RouterKind(args[0]), config)
}

func packages(args []string) error {
	f := flag.NewFlagSet("lab packages", flag.ExitOnError)
	missing := f.Bool("missing", false, "only those of which something is missing here")
	routers := f.Bool("routers", false, "those of the routing programs too")
	_ = f.Parse(args) // it exits on errors
	var kinds []lab.RouterKind
	if *routers {
		kinds = []lab.RouterKind{lab.FRR, lab.BIRD}
	}
	if names := lab.Packages(*missing, kinds...); len(names) > 0 {
		fmt.Println(strings.Join(names, " "))
	}
	return nil
}
