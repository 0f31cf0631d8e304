// Package image writes container images as archives: an OCI image layout
// (OCI image specification, image-layout.md) in a tar, of one layer, with no
// registry and no engine. It is pure but for the writer that it is given.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
)

// Image is an image of one layer.
type Image struct {
	// Name is its reference: with a tag; or without one, and then the image is
	// known by its digest (see [Image.Reference]).
	Name string
	// Path is where the program is in it, and its entry point. Empty: it has none.
	Path string
	// Program is the executable, which must need no library.
	Program []byte
	// Files are what else is in it. Directories above them are made.
	Files []File
	// User is the numeric user that runs it; empty: root.
	User string
}

// File is a file of an image.
type File struct {
	// Path is absolute. That of a directory ends in a slash.
	Path string
	// Mode is its permissions.
	Mode    int64
	Content []byte
}

type object = map[string]any

// Write writes the archive. The same image gives the same bytes.
func (i Image) Write(w io.Writer) error {
	b, err := i.blobs()
	if err != nil {
		return err
	}
	entry := descriptor("application/vnd.oci.image.manifest.v1+json", b.manifest)
	entry["platform"] = object{"architecture": runtime.GOARCH, "os": "linux"}
	name := i.reference(b)
	entry["annotations"] = object{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	index := encode(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []object{entry},
	})
	files := []File{{"oci-layout", 0o644, encode(object{"imageLayoutVersion": "1.0.0"})}, {"index.json", 0o644, index}}
	for _, blob := range [][]byte{b.config, b.manifest, b.layer} {
		files = append(files, File{"blobs/sha256/" + strings.TrimPrefix(digest(blob), "sha256:"), 0o644, blob})
	}
	return writeTar(w, files)
}

// Reference is what Pods call the image: its name, or name@digest if that has no tag.
func (i Image) Reference() (string, error) {
	b, err := i.blobs()
	return i.reference(b), err
}

func (i Image) reference(b blobs) string {
	if strings.Contains(path.Base(i.Name), ":") {
		return i.Name
	}
	return i.Name + "@" + digest(b.manifest)
}

// blobs are what an image consists of.
type blobs struct{ config, manifest, layer []byte }

func (i Image) blobs() (blobs, error) {
	files := append([]File{{"/tmp/", 0o1777, nil}}, i.Files...)
	settings := object{"Env": []string{"PATH=/:/bin"}}
	if i.User != "" {
		settings["User"] = i.User
	}
	if i.Path != "" {
		files = append(files, File{i.Path, 0o755, i.Program})
		settings["Entrypoint"] = []string{i.Path}
	}
	var layer bytes.Buffer
	if err := writeTar(&layer, inTree(files)); err != nil {
		return blobs{}, err
	}
	config := encode(object{
		"architecture": runtime.GOARCH, "os": "linux", "config": settings,
		"rootfs": object{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	manifest := encode(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []object{descriptor("application/vnd.oci.image.layer.v1.tar", layer.Bytes())},
	})
	return blobs{config, manifest, layer.Bytes()}, nil
}

// inTree gives the files as a layer names them, relative and in order, with the directories that they are in.
func inTree(files []File) []File {
	var all []File
	has := map[string]bool{".": true}
	add := func(f File) {
		if name := path.Clean(f.Path); !has[name] {
			has[name] = true
			all = append(all, f)
		}
	}
	for _, f := range files {
		f.Path = strings.TrimPrefix(f.Path, "/")
		add(f)
		for dir := path.Dir(path.Clean(f.Path)); dir != "."; dir = path.Dir(dir) {
			add(File{dir + "/", 0o755, nil})
		}
	}
	slices.SortStableFunc(all, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

func writeTar(w io.Writer, files []File) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		kind := byte(tar.TypeReg)
		if strings.HasSuffix(f.Path, "/") {
			kind = tar.TypeDir
		}
		if err := t.WriteHeader(&tar.Header{Name: f.Path, Mode: f.Mode, Size: int64(len(f.Content)), Typeflag: kind}); err != nil {
			return err
		}
		if _, err := t.Write(f.Content); err != nil {
			return err
		}
	}
	return t.Close()
}

func descriptor(mediaType string, blob []byte) object {
	return object{"mediaType": mediaType, "digest": digest(blob), "size": len(blob)}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func encode(o object) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}
