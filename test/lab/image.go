package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"metallb.io/operator/test/lab/internal/image"
)

// Image is a container image that a test makes of files; see [Cluster.AddImage].
type Image = image.Image

// File is a file of an [Image].
type File = image.File

// AddImage loads an image into every node, as [Cluster.LoadImage] does, and
// returns its reference for Pods. One that is named without a tag gets the reference
// name@digest; Kubernetes pulls such an image only if it is absent.
func (c *Cluster) AddImage(ctx context.Context, i Image) (reference string, err error) {
	reference, err = i.Reference()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "metallb-lab-image-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	archive := filepath.Join(dir, strings.NewReplacer("/", "-", ":", "-", "@", "-").Replace(reference)+".tar")
	f, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	if err := errors.Join(i.Write(f), f.Close()); err != nil {
		return "", err
	}
	return reference, c.LoadImage(ctx, archive)
}
