// Package image writes container images as archives: an OCI image layout
// (OCI image specification, image-layout.md) in a tar, of one layer, with no
// registry and no engine. It is pure but for the writer that it is given.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"runtime"
	"strings"
)

// Image is an image of one program.
type Image struct {
	// Name is its reference, with a tag.
	Name string
	// Path is where the program is in it, and its entry point.
	Path string
	// Program is the executable, which must need no library.
	Program []byte
}

type object = map[string]any

// Write writes the archive. The same image gives the same bytes.
func (i Image) Write(w io.Writer) error {
	var layer bytes.Buffer
	err := writeTar(&layer, []file{{strings.TrimPrefix(i.Path, "/"), 0o755, i.Program}, {"tmp/", 0o1777, nil}})
	if err != nil {
		return err
	}
	config := encode(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": []string{i.Path}, "Env": []string{"PATH=/"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	manifest := encode(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []object{descriptor("application/vnd.oci.image.layer.v1.tar", layer.Bytes())},
	})
	entry := descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
	entry["platform"] = object{"architecture": runtime.GOARCH, "os": "linux"}
	entry["annotations"] = object{"io.containerd.image.name": i.Name, "org.opencontainers.image.ref.name": i.Name}
	index := encode(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []object{entry},
	})
	files := []file{{"oci-layout", 0o644, encode(object{"imageLayoutVersion": "1.0.0"})}, {"index.json", 0o644, index}}
	for _, blob := range [][]byte{config, manifest, layer.Bytes()} {
		files = append(files, file{"blobs/sha256/" + strings.TrimPrefix(digest(blob), "sha256:"), 0o644, blob})
	}
	return writeTar(w, files)
}

type file struct {
	name    string // a directory's ends in a slash
	mode    int64
	content []byte
}

func writeTar(w io.Writer, files []file) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		kind := byte(tar.TypeReg)
		if strings.HasSuffix(f.name, "/") {
			kind = tar.TypeDir
		}
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: kind}); err != nil {
			return err
		}
		if _, err := t.Write(f.content); err != nil {
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
