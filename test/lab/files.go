package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"metallb.io/operator/test/lab/internal/image"
	"metallb.io/operator/test/lab/internal/pki"
)

// Images that every node has from the start.
const (
	// EchoImage answers on the ports that it is told of; see images/echo.
	EchoImage  = "lab.metallb.io/echo:1"
	pauseImage = "lab.metallb.io/pause:1"
)

func (d stateDir) stateFile() string { return filepath.Join(string(d), "state.json") }

// writeFiles writes everything that machines read.
func (c *Cluster) writeFiles() error {
	r := render{plan: c.plan, options: c.Options, dir: c.dir, bins: c.bins, cniBin: cniDir(), snapshotter: c.Snapshotter}
	b, err := json.MarshalIndent(c.state, "", " ")
	if err != nil {
		return err
	}
	files := map[string]string{c.dir.stateFile(): string(b)}
	for path, value := range kernelTunables {
		files[r.tunable(path)] = value
	}
	if err := c.certificates(); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	for path, name := range map[string]string{"/echo": EchoImage, "/pause": pauseImage} {
		if err := c.writeImage(path, name); err != nil {
			return fmt.Errorf("make image %s: %w", name, err)
		}
	}
	for i, name := range c.Nodes() {
		for file, content := range r.nodeFiles(name, i+1) {
			files[filepath.Join(c.dir.machine(name), file)] = content
		}
		for _, path := range nodeDisk {
			if err := os.MkdirAll(filepath.Join(c.dir.machine(name), "disk", path), 0o755); err != nil {
				return err
			}
		}
		if err := c.writeSpec(r.node(name)); err != nil {
			return err
		}
	}
	for path, content := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return c.writeSpec(r.controlPlane())
}

func (c *Cluster) certificates() error {
	service := serviceIPv4.Addr().Next() // of Service kubernetes: the first
	k := pki.Cluster{
		Server: "https://" + c.plan.apiServer().String(),
		ServerAddresses: []netip.Addr{c.plan.apiServer().Addr(), c.plan.nic(Management, controlPlaneNumber).IPv6.Addr(),
			service, serviceIPv6.Addr().Next()},
		Nodes: map[string][]netip.Addr{},
	}
	for _, name := range c.Nodes() {
		for _, nic := range c.Machine(name).NICs {
			k.Nodes[name] = append(k.Nodes[name], nic.IPv4.Addr(), nic.IPv6.Addr())
		}
	}
	return k.Write(c.dir.pki(""))
}

// writeImage puts a helper program into an image archive that nodes load when they start.
func (c *Cluster) writeImage(path, name string) error {
	program, err := os.ReadFile(filepath.Join(c.bins.Lab, path))
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(c.dir.images(), filepath.Base(path)+".tar"))
	if err != nil {
		return err
	}
	return errors.Join(image.Image{Name: name, Path: path, Program: program}.Write(f), f.Close())
}

// snapshotter says how containerd stacks image layers on the disk of dir.
func snapshotter(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil // an overlay cannot be the upper layer of another; this one copies
	}
	return "overlayfs", nil
}

// SaveLogs copies the logs of all machines to dir, as <machine>/<program>.log.
func (c *Cluster) SaveLogs(dir string) error {
	logs, err := filepath.Glob(filepath.Join(string(c.dir), "*", "*.log"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		rel, err := filepath.Rel(string(c.dir), path)
		if err != nil {
			return err
		}
		if err := copyFile(path, filepath.Join(dir, rel)); err != nil {
			return err
		}
	}
	return nil
}

// saveFailure keeps the logs of a cluster that did not come up and says where.
func (c *Cluster) saveFailure() error {
	dir, err := os.MkdirTemp("", "metallb-lab-logs-")
	if err != nil {
		return err
	}
	if err := c.SaveLogs(dir); err != nil {
		return err
	}
	return fmt.Errorf("its logs are kept in %s", dir)
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	dst, err := os.Create(to + ".part") // renamed when whole
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err := errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return os.Rename(dst.Name(), to)
}
