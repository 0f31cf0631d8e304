package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWrite follows the archive from its index to the program, as whoever loads it does.
func TestWrite(t *testing.T) {
	i := Image{Name: "example.org/talk:1", Path: "/talk", Program: []byte("the program")}
	var archive, again bytes.Buffer
	if err := i.Write(&archive); err != nil {
		t.Fatal(err)
	}
	if err := i.Write(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(archive.Bytes(), again.Bytes()) {
		t.Error("the same image gives other bytes")
	}
	files := untar(t, archive.Bytes())
	type ref struct {
		Digest      string
		Size        int
		Annotations map[string]string
	}
	blob := func(r ref) []byte {
		t.Helper()
		b, has := files["blobs/sha256/"+r.Digest[len("sha256:"):]]
		if !has || len(b) != r.Size || digest(b) != r.Digest {
			t.Fatalf("blob %s of %d bytes: present %t, is %s of %d bytes", r.Digest, r.Size, has, digest(b), len(b))
		}
		return b
	}
	var index struct{ Manifests []ref }
	decode(t, files["index.json"], &index)
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != i.Name {
		t.Errorf("its name is %q", got)
	}
	var manifest struct {
		Config ref
		Layers []ref
	}
	decode(t, blob(index.Manifests[0]), &manifest)
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	decode(t, blob(manifest.Config), &config)
	layer := blob(manifest.Layers[0])
	if diff := cmp.Diff([]string{"/talk"}, config.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{digest(layer)}, config.RootFS.DiffIDs); diff != "" {
		t.Error(diff)
	}
	if got := untar(t, layer)["talk"]; !bytes.Equal(got, i.Program) {
		t.Errorf("the program is %q", got)
	}
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// An image without a tag is known by the digest of its manifest, and holds its files below their directories.
func TestReference(t *testing.T) {
	tagged := Image{Name: "example.org:5000/talk:1"}
	got, err := tagged.Reference()
	if err != nil || got != tagged.Name {
		t.Errorf("with a tag it is %q, %v", got, err)
	}
	i := Image{Name: "example.org:5000/some/content", User: "1001", Files: []File{
		{"/manifests/sub/b.yaml", 0o644, []byte("b")}, {"/manifests/a.yaml", 0o644, []byte("a")}}}
	var archive bytes.Buffer
	if err := i.Write(&archive); err != nil {
		t.Fatal(err)
	}
	files := untar(t, archive.Bytes())
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	decode(t, files["index.json"], &index)
	want := i.Name + "@" + index.Manifests[0].Digest
	if got, err := i.Reference(); err != nil || got != want {
		t.Errorf("it is %q, %v, want %q", got, err, want)
	}
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != want {
		t.Errorf("the archive says %q, want %q", got, want)
	}
	var names []string
	for _, f := range inTree(i.Files) {
		names = append(names, f.Path)
	}
	if diff := cmp.Diff([]string{"manifests/", "manifests/a.yaml", "manifests/sub/", "manifests/sub/b.yaml"}, names); diff != "" {
		t.Error(diff)
	}
}
