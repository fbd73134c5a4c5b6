package flatten_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/layer"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/tree"
)

type layers [][]entry

// A rule is what becomes of layers, of which some are on top of lower.
type rule struct {
	name   string
	layers layers
	want   []string
}

var (
	lower = []entry{dir("d", 0o700), file("d/a", "1"), file("d/b", "1"), dir("d/sub", 0o700), file("d/sub/c", "1"), file("f", "1")}
	rules = []rule{
		{"nothing", layers{}, []string{"40755 /"}},
		{"root", layers{{dir("./", 0o711)}, {dir("/", 0o750)}}, []string{"40750 /"}},
		{"parents", layers{{file("x/y/z", "1")}}, []string{"40755 /", "40755 /x", "40755 /x/y", "100644 /x/y/z 1"}},
		{"parents come later", layers{{file("x/y", "1"), dir("x", 0o711)}}, []string{"40755 /", "40711 /x", "100644 /x/y 1"}},
		{"parents come in another layer", layers{{file("x/y", "1")}, {dir("x", 0o711)}}, []string{"40755 /", "40711 /x", "100644 /x/y 1"}},
		{"last of a layer", layers{{file("a", "1"), file("a", "2")}}, []string{"40755 /", "100644 /a 2"}},
		{"file over file", layers{{file("a", "1")}, {file("./a", "2")}}, []string{"40755 /", "100644 /a 2"}},
		{"file over directory", layers{lower, {file("d", "2")}}, []string{"40755 /", "100644 /d 2", "100644 /f 1"}},
		{"directory over file", layers{lower, {dir("f", 0o711), file("f/x", "2")}, {file("d", "")}}, []string{"40755 /", "100644 /d", "40711 /f", "100644 /f/x 2"}},
		{"directory over directory", layers{{dir("d", 0o700), file("d/a", "1")}, {dir("d", 0o711)}}, []string{"40755 /", "40711 /d", "100644 /d/a 1"}},
		{"directory over symlink", layers{{dir("d", 0o700), symlink("s", "d")}, {dir("s", 0o711)}}, []string{"40755 /", "40700 /d", "40711 /s"}},

		{"whiteout", layers{lower, {file("d/.wh.a", ""), file(".wh.f", ""), file("d/.wh.none", "")}}, []string{
			"40755 /", "40700 /d", "100644 /d/b 1", "40700 /d/sub", "100644 /d/sub/c 1",
		}},
		{"whiteout of a directory", layers{lower, {file(".wh.d", "")}}, []string{"40755 /", "100644 /f 1"}},
		{"whiteout after the own file", layers{lower, {file("f", "2"), file(".wh.f", "")}}, []string{
			"40755 /", "40700 /d", "100644 /d/a 1", "100644 /d/b 1", "40700 /d/sub", "100644 /d/sub/c 1", "100644 /f 2",
		}},
		{"whiteout before the own file", layers{lower, {file(".wh.d", ""), file("d", "2")}}, []string{"40755 /", "100644 /d 2", "100644 /f 1"}},
		{"whiteout before the own directory", layers{lower, {file(".wh.d", ""), dir("d", 0o711), file("d/x", "2")}}, []string{
			"40755 /", "40711 /d", "100644 /d/x 2", "100644 /f 1",
		}},
		{"whiteout after the own directory", layers{lower, {dir("d", 0o711), file("d/x", "2"), file(".wh.d", "")}}, []string{
			"40755 /", "40711 /d", "100644 /d/x 2", "100644 /f 1",
		}},
		{"whiteout after what implies the directory", layers{lower, {file("d/sub/x", "2"), file(".wh.d", "")}}, []string{
			"40755 /", "40755 /d", "40755 /d/sub", "100644 /d/sub/x 2", "100644 /f 1",
		}},
		{"whiteout before what implies the directory", layers{lower, {file(".wh.d", ""), file("d/sub/x", "2")}}, []string{
			"40755 /", "40755 /d", "40755 /d/sub", "100644 /d/sub/x 2", "100644 /f 1",
		}},
		{"whiteout, and a layer above", layers{lower, {file(".wh.d", "")}, {file("d/a", "3")}}, []string{"40755 /", "40755 /d", "100644 /d/a 3", "100644 /f 1"}},

		{"whiteouts of nobody's names", layers{lower, {file("d/.wh.", ""), file("d/.wh..", ""), file("d/.wh...", ""), file(".wh.d", "")}}, []string{"40755 /", "100644 /f 1"}},

		{"opaque, first", layers{lower, {file("d/.wh..wh..opq", ""), file("d/x", "2"), file("d/sub/y", "2")}}, []string{
			"40755 /", "40700 /d", "40755 /d/sub", "100644 /d/sub/y 2", "100644 /d/x 2", "100644 /f 1",
		}},
		{"opaque, last", layers{lower, {file("d/x", "2"), file("d/sub/y", "2"), file("d/.wh..wh..opq", "")}}, []string{
			"40755 /", "40700 /d", "40755 /d/sub", "100644 /d/sub/y 2", "100644 /d/x 2", "100644 /f 1",
		}},
		{"opaque, twice", layers{lower, {file("d/.wh..wh..opq", ""), file("d/x", "2"), file("d/.wh..wh..opq", "")}}, []string{
			"40755 /", "40700 /d", "100644 /d/x 2", "100644 /f 1",
		}},
		{"opaque in two layers", layers{lower, {file("d/.wh..wh..opq", ""), file("d/x", "2")}, {file("d/.wh..wh..opq", ""), file("d/y", "3")}}, []string{
			"40755 /", "40700 /d", "100644 /d/y 3", "100644 /f 1",
		}},
		{"opaque root", layers{lower, {file(".wh..wh..opq", ""), file("x", "2")}}, []string{"40755 /", "100644 /x 2"}},
		{"whiteout after opaque below", layers{lower, {file("d/sub/.wh..wh..opq", ""), file(".wh.d", "")}}, []string{"40755 /", "100644 /f 1"}},
		{"whiteouts in what is not there", layers{{file("x/.wh.y", ""), file("z/.wh..wh..opq", "")}}, []string{"40755 /"}},
		{"what aufs has for itself", layers{{file(".wh..wh.plnk/x", "1"), file(".wh..wh.aufs", ""), dir(".wh..wh.orph", 0o700)}}, []string{"40755 /"}},

		{"hard link", layers{{file("b", "1"), link("a", "./b")}}, []string{"40755 /", "100644 /a 1 (2)", "/b = /a"}},
		{"hard link to a lower layer", layers{lower, {file(".wh.d", ""), link("g", "/f")}}, []string{"40755 /", "100644 /f 1 (2)", "/g = /f"}},
		{"hard link to what is replaced", layers{{file("a", "1"), link("b", "a")}, {file("a", "2")}}, []string{"40755 /", "100644 /a 2", "100644 /b 1"}},
		{"hard link to itself", layers{{file("a", "1"), link("a", "a")}}, []string{"40755 /", "100644 /a 1"}},
		{"hard link to a symlink", layers{{symlink("s", "x"), link("t", "s")}}, []string{"40755 /", "120777 /s -> x (2)", "/t = /s"}},
		{"hard link through a symlink", layers{{dir("d", 0o755), file("d/f", "1"), symlink("s", "d"), link("a", "s/f")}}, []string{
			"40755 /", "100644 /a 1 (2)", "40755 /d", "/d/f = /a", "120777 /s -> d",
		}},
		{"hard link over its target's directory", layers{{file("d/f", "1"), link("d", "d/f")}}, []string{"40755 /", "100644 /d 1"}},
		{"hard link over a directory", layers{lower, {link("d", "f")}}, []string{"40755 /", "100644 /d 1 (2)", "/f = /d"}},

		{"symlinked parent", layers{{dir("usr/lib", 0o700), symlink("lib", "usr/lib")}, {file("lib/x", "2")}}, []string{
			"40755 /", "120777 /lib -> usr/lib", "40755 /usr", "40700 /usr/lib", "100644 /usr/lib/x 2",
		}},
		{"absolute symlinked parent", layers{{dir("d", 0o755), symlink("d/s", "/e")}, {file("d/s/x", "2")}}, []string{
			"40755 /", "40755 /d", "120777 /d/s -> /e", "40755 /e", "100644 /e/x 2",
		}},
		{"symlinked parent upwards", layers{{symlink("s", "../../../e/./f/../g")}, {file("s/x", "2")}}, []string{
			"40755 /", "40755 /e", "40755 /e/g", "100644 /e/g/x 2", "120777 /s -> ../../../e/./f/../g",
		}},
		{"symlinks after each other", layers{{symlink("a", "b/x"), symlink("b", "c"), dir("c", 0o700), file("a/f", "1")}}, []string{
			"40755 /", "120777 /a -> b/x", "120777 /b -> c", "40700 /c", "40755 /c/x", "100644 /c/x/f 1",
		}},
		{"whiteout through a symlink", layers{{dir("d", 0o755), file("d/f", "1"), symlink("s", "d")}, {file("s/.wh.f", "")}}, []string{
			"40755 /", "40755 /d", "120777 /s -> d",
		}},
		{"a symlink that is replaced between two files", layers{{dir("d", 0o755), symlink("s", "d")}, {file("s/x", "2"), dir("s", 0o700), file("s/y", "2")}}, []string{
			"40755 /", "40755 /d", "100644 /d/x 2", "40700 /s", "100644 /s/y 2",
		}},

		{"dots", layers{{file("a/../b/./c", "1"), file("d/x/..", "2")}}, []string{"40755 /", "40755 /b", "100644 /b/c 1", "100644 /d 2"}},
		{"dots that are not the parent", layers{{dir("b/x/..", 0o700), file("b/x/f", "1")}}, []string{"40755 /", "40700 /b", "40755 /b/x", "100644 /b/x/f 1"}},
		{"absolute", layers{{file("//a//b", "1")}}, []string{"40755 /", "40755 /a", "100644 /a/b 1"}},
		{"global headers", layers{{{tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "../x", PAXRecords: map[string]string{"path": "../y"}}, ""}}}, []string{"40755 /"}},
	}
)

func TestRulesOfLayers(t *testing.T) {
	for _, test := range rules {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, lines(mustFlatten(t, test.layers...))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Where in a layer its whiteouts stand makes no difference, unless what they are in becomes a symlink.
func TestWhiteoutsStandAnywhere(t *testing.T) {
	moved := 0
	for seed := range uint64(150) {
		images := randomLayers(seed, false)
		want := mustFlatten(t, images...)
		rnd := rand.New(rand.NewPCG(seed, 9))
		for i, entries := range images {
			links := map[string]bool{}
			for _, e := range entries {
				if e.Typeflag == tar.TypeSymlink || e.Typeflag == tar.TypeLink {
					links[path.Clean("/"+e.Name)] = true
				}
			}
			var whiteouts []entry
			images[i] = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
				if !strings.HasPrefix(path.Base(e.Name), ".wh.") {
					return false
				}
				for dir := path.Dir(path.Clean("/" + e.Name)); dir != "/"; dir = path.Dir(dir) {
					if links[dir] {
						return false
					}
				}
				whiteouts = append(whiteouts, e)
				return true
			})
			for _, e := range whiteouts {
				images[i] = slices.Insert(images[i], rnd.IntN(len(images[i])+1), e)
				moved++
			}
		}
		got := mustFlatten(t, images...)
		for change := range tree.Compare(want, got) {
			t.Errorf("image %d: %v", seed, change)
		}
	}
	if moved < 500 {
		t.Errorf("only %d whiteouts were moved", moved)
	}
}

func TestRefusals(t *testing.T) {
	deep := strings.Repeat("d/", 2040)
	for name, test := range map[string]struct {
		layers layers
		want   error
		text   string
	}{
		"upwards": {
			layers{{}, {file("a/../../b", "x")}},
			layer.ErrEntry,
			`layer 2: entry "a/../../b" at byte 0: bad entry of a tar: "a/../../b" leads out of the tree`,
		},
		"a parent is a file":         {layers{{file("a", "x")}, {file("a/b", "x")}}, layer.ErrEntry, ""},
		"a symlink leads to a file":  {layers{{file("a", "x"), symlink("s", "a")}, {file("s/b", "x")}}, layer.ErrEntry, ""},
		"symlinks in a circle":       {layers{{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}}, layer.ErrEntry, ""},
		"symlink to itself":          {layers{{symlink("a", "a/a"), file("a/x", "")}}, layer.ErrEntry, ""},
		"long symlinks":              {layers{{symlink("s", strings.Repeat("/", 2000)+"t"), symlink("t", "."), file(strings.Repeat("s/", 10)+"x", "")}}, layer.ErrEntry, ""},
		"a long name in a symlink":   {layers{{symlink("a", strings.Repeat("n", 300)), file("a/x", "")}}, layer.ErrEntry, ""},
		"link out":                   {layers{{link("a", "../../etc/passwd")}}, layer.ErrEntry, ""},
		"link to nothing":            {layers{{link("a", "b"), file("b", "x")}}, layer.ErrEntry, ""},
		"link to what is below none": {layers{{link("a", "b/c")}}, layer.ErrEntry, ""},
		"link to what is removed":    {layers{{file("b", "x")}, {file(".wh.b", ""), link("a", "b")}}, layer.ErrEntry, ""},
		"link to a directory":        {layers{{dir("d", 0o755), link("d/e", "d")}}, layer.ErrEntry, ""},
		"link to the root":           {layers{{link("e", "/")}}, layer.ErrEntry, ""},
		"link as root":               {layers{{file("a", ""), link("/", "a")}}, layer.ErrEntry, ""},
		"root is a file":             {layers{{symlink("./", "x")}}, layer.ErrEntry, ""},
		"file in a whiteout":         {layers{{file(".wh.a/b", "x")}}, layer.ErrEntry, ""},
		"long name":                  {layers{{file(strings.Repeat("n", 256), "")}}, layer.ErrEntry, ""},
		"empty link":                 {layers{{symlink("a", "")}}, layer.ErrEntry, ""},
		"type":                       {layers{{{tar.Header{Name: "a", Typeflag: 'M'}, ""}}}, layer.ErrEntry, ""},
		"deep":                       {layers{{dir(deep, 0o755), symlink("s", deep), file("s/a/b/c/d/e/f/g/h/i/j", "")}}, layer.ErrLimit, ""},
		"many":                       {layers{{file("a/b/c", "")}, {file("d", ""), file("e", ""), file("f", "")}}, layer.ErrLimit, ""},
		"much": {layers{{{tar.Header{
			Name: "a", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("v", 100_000)},
		}, ""}}}, layer.ErrLimit, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var tars [][]byte
			for _, entries := range test.layers {
				tars = append(tars, makeTar(t, entries...))
			}
			opts := flatten.Options{MaxEntries: 4500, MaxBytes: 20_000}
			if name == "many" {
				opts.MaxEntries = 5
			}
			_, err := newMemory(fsverity.SHA256).flatten(t, opts, tars...)
			if !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	h := tar.Header{
		Name: "f", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 1 << 30, Gid: 7, ModTime: time.Unix(12, 345), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.b": "2\x00\n", "SCHILY.xattr.security.capability": "c", "comment": "none"},
	}
	null := tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 0x12345}
	long := strings.Repeat("content", 100)
	root := mustFlatten(t, []entry{{h, long}, {null, ""}})
	f := root.Lookup("f")
	if f.Mode != 0o106755 || f.UID != 1<<30 || f.GID != 7 || f.Mtime.Sec != 12 || f.Mtime.Nsec != 345 || f.Size != uint64(len(long)) || len(f.Content) > 0 {
		t.Errorf("%+v", f)
	}
	if want, _ := fsverity.Sum(fsverity.SHA256, []byte(long)); f.Digest != want {
		t.Errorf("digest %v, want %v", f.Digest, want)
	}
	if b, _ := f.Xattr("user.b"); b != "2\x00\n" || len(f.Xattrs) != 2 {
		t.Errorf("attributes %+v", f.Xattrs)
	}
	if got := root.Lookup("null").Rdev; got != 0x12300145 {
		t.Errorf("device %#x", got)
	}
}

// composefs-rs has the same ids in its tests.
func TestPinnedIDs(t *testing.T) {
	at := time.Unix(1234567890, 0)
	entries := []entry{dir("usr/", 0o755), file("hello.txt", "hello from test layer\n"), link("hello-link.txt", "hello.txt")}
	for i := range entries {
		entries[i].ModTime = at
	}
	for format, want := range map[erofs.Format]string{
		erofs.FormatV2: "f7684c21050615c02cec250e0c7d4118fb0ff6340af5039e06f2f372a7614fff25dfd38cf7f28ad67d8b86e86371b7deafa9ae4bf543630322aee6196417de92",
		erofs.FormatV1: "d06f1f6a73f62ed48e05ce9442ff045cdf2a9f5ba1ec623795de3d6177a253d91076459795d94f55d8c3d71dab458bb3fc0071255a50c0a4896d86ffdc870b9a",
	} {
		root := mustFlatten(t, entries)
		flatten.Canonical(root, flatten.ModeCanonical)
		if got := imageOf(t, root, format, fsverity.SHA512); got != want {
			t.Errorf("%v: %s, want %s", format, got, want)
		}
	}
}

func TestALayerForOverlayfs(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries []entry
		want    []string
		opaque  string
	}{
		{"whiteout", []entry{file("d/.wh.a", ""), file("d/b", "1")}, []string{"40755 /", "40755 /d", "20000 /d/a", "100644 /d/b 1"}, ""},
		{"opaque", []entry{file("d/.wh..wh..opq", ""), dir("d", 0o700), file("d/b", "1")}, []string{"40755 /", "40700 /d", "100644 /d/b 1"}, "d"},
		{"whiteout before the file", []entry{file(".wh.a", ""), file("a", "1")}, []string{"40755 /", "100644 /a 1"}, ""},
		{"whiteout after the file", []entry{file("a", "1"), file(".wh.a", "")}, []string{"40755 /", "100644 /a 1"}, ""},
		{"whiteout before the directory", []entry{file(".wh.d", ""), dir("d", 0o700)}, []string{"40755 /", "40700 /d"}, "d"},
		{"whiteout after the directory", []entry{dir("d", 0o700), file(".wh.d", "")}, []string{"40755 /", "40700 /d"}, "d"},
		{"whiteout before what implies the directory", []entry{file(".wh.d", ""), file("d/f", "1")}, []string{"40755 /", "40755 /d", "100644 /d/f 1"}, "d"},
		{"whiteout twice", []entry{file(".wh.a", ""), file(".wh.a", "")}, []string{"40755 /", "20000 /a"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMemory(fsverity.SHA256)
			entries := layer.Entries(t.Context(), m.split(t, makeTar(t, test.entries...)), layer.EntriesOptions{})
			root, err := flatten.Layer(t.Context(), flatten.Options{}, entries)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(root)); diff != "" {
				t.Error(diff)
			}
			for _, e := range root.Children {
				value, ok := e.Inode.Xattr("trusted.overlay.opaque")
				if ok != (e.Name == test.opaque) || ok && value != "y" {
					t.Errorf("%s: opaque is %q, %v", e.Name, value, ok)
				}
			}
		})
	}
	for name, entries := range map[string][]entry{
		"link to another layer": {link("a", "b")},
		"link to a whiteout":    {file(".wh.b", ""), link("a", "b")},
	} {
		m := newMemory(fsverity.SHA256)
		_, err := flatten.Layer(t.Context(), flatten.Options{}, layer.Entries(t.Context(), m.split(t, makeTar(t, entries...)), layer.EntriesOptions{}))
		if !errors.Is(err, layer.ErrEntry) || !strings.HasPrefix(fmt.Sprint(err), `entry "a" at byte`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
