package containersstorage_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/containersstorage"
)

func TestNames(t *testing.T) {
	g := newGraph(t)
	archive := makeTar(t, file("a", "a"))
	layer, ids := g.layer("", archive), map[string]string{}
	for _, names := range []string{
		"docker.io/library/debian:12", "docker.io/library/debian:latest", "localhost/mine:latest", "localhost/debian:13",
		"quay.io/org/tool:v1", "ghcr.io/other/tool:v1", "registry.example:5000/deep/path/app:latest", "docker.io/org/app:1",
		"quay.io/org/bydigest@sha256:" + strings.Repeat("ab", 32), "localhost/two:latest docker.io/library/three:latest",
	} {
		ids[names] = g.image(layer, []digest.Digest{digest.FromBytes(archive)}, strings.Fields(names)...)
	}
	digestOf := func(i int) string { return g.images[i].Digest.String() }
	debian12 := ids["docker.io/library/debian:12"]
	for _, test := range []struct {
		name string
		want string // names of the image; empty if there is none
		err  error
	}{
		{"docker.io/library/debian:12", "docker.io/library/debian:12", nil},
		{"debian:12", "docker.io/library/debian:12", nil},
		{"debian", "docker.io/library/debian:latest", nil},
		{"debian:13", "localhost/debian:13", nil},
		{"library/debian:12", "docker.io/library/debian:12", nil},
		{"mine", "localhost/mine:latest", nil},
		{"localhost/mine", "localhost/mine:latest", nil},
		{"quay.io/org/tool:v1", "quay.io/org/tool:v1", nil},
		{"org/tool:v1", "quay.io/org/tool:v1", nil},
		{"tool:v1", "", containersstorage.ErrAmbiguous},
		{"tool", "", containersstorage.ErrNotFound},
		{"org/app:1", "docker.io/org/app:1", nil},
		{"app:1", "docker.io/org/app:1", nil},
		{"app", "registry.example:5000/deep/path/app:latest", nil},
		{"path/app", "registry.example:5000/deep/path/app:latest", nil},
		{"registry.example:5000/deep/path/app", "registry.example:5000/deep/path/app:latest", nil},
		{"th/app", "", containersstorage.ErrNotFound},
		{"two", "localhost/two:latest docker.io/library/three:latest", nil},
		{"three", "localhost/two:latest docker.io/library/three:latest", nil},
		{"debian:12@" + digestOf(0), "docker.io/library/debian:12", nil},
		{"debian@" + digestOf(0), "docker.io/library/debian:12", nil},
		{"debian:12@" + digestOf(1), "", containersstorage.ErrNotFound},
		{"mine@" + digestOf(0), "", containersstorage.ErrNotFound},
		{"@" + digestOf(0), "docker.io/library/debian:12", nil},
		{digestOf(0), "docker.io/library/debian:12", nil},
		{debian12, "docker.io/library/debian:12", nil},
		{"@" + debian12, "docker.io/library/debian:12", nil},
		{"sha256:" + debian12, "docker.io/library/debian:12", nil},
		{debian12[:12], "docker.io/library/debian:12", nil},
		{"[" + g.root + "]debian:12", "docker.io/library/debian:12", nil},
		{"[overlay@" + g.root + "+/run/x:overlay.mountopt=nodev]debian:12", "docker.io/library/debian:12", nil},
		{"[vfs@" + g.root + "]debian:12", "", containersstorage.ErrNotFound},
		{"[overlay@relative]debian:12", "", containersstorage.ErrNotFound},
		{"[overlay@" + g.root, "", containersstorage.ErrNotFound},
		{strings.Repeat("0", 64), "", containersstorage.ErrNotFound},
		{"", "", containersstorage.ErrNotFound},
		{":", "", containersstorage.ErrNotFound},
		{"@", "", containersstorage.ErrNotFound},
		{"/", "", containersstorage.ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, err := containersstorage.Open(t.Context(), test.name, containersstorage.Options{Root: g.root})
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			defer i.Close()
			if got := strings.Join(i.Names, " "); got != test.want {
				t.Errorf("%s", got)
			}
		})
	}
}

// Each of these begins the IDs of several images, of which there are enough for that.
func TestShortIDOfSeveral(t *testing.T) {
	g := newGraph(t)
	archive := makeTar(t, file("a", "a"))
	layer, count := g.layer("", archive), map[byte]int{}
	for _, name := range strings.Fields("a b c d e f g h i j k l m n o p q") { // more than there are digits
		count[g.image(layer, []digest.Digest{digest.FromBytes(archive)}, "localhost/x"+name+":latest")[0]]++
	}
	for digit, n := range count {
		want := error(nil)
		if n > 1 {
			want = containersstorage.ErrAmbiguous
		}
		i, err := containersstorage.Open(t.Context(), string(digit), containersstorage.Options{Root: g.root})
		if !errors.Is(err, want) {
			t.Errorf("%c begins %d IDs: %v", digit, n, err)
		}
		if err == nil {
			_ = i.Close()
		}
	}
}

// An image that was pulled by the digest of an index has that as big data as well; its manifest is another.
func TestDigestOfAnIndex(t *testing.T) {
	g := newGraph(t)
	g.simple("localhost/a:latest")
	index := g.writeJSON("", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": []any{map[string]any{
			"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": g.images[0].Digest, "size": 1,
		}},
	})
	key := "manifest-" + digest.FromBytes(index).String()
	g.write("overlay-images/"+g.images[0].ID+"/="+base64.StdEncoding.EncodeToString([]byte(key)), index)
	g.images[0].BigDataDigests[key] = digest.FromBytes(index)
	g.save()
	want, _ := open(t, g, "a").Manifest()
	for _, name := range []string{"a@" + digest.FromBytes(index).String(), digest.FromBytes(index).String()} {
		if got, mediaType := open(t, g, name).Manifest(); string(got) != string(want) {
			t.Errorf("%s: %s of type %s", name, got, mediaType)
		}
	}
}
