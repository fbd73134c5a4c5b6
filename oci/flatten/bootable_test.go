package flatten_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/flatten"
	"github.com/go-composefs/composefs/oci/selinux"
	"github.com/go-composefs/composefs/tree"
)

const policyDir = "etc/selinux/targeted/contexts/files/"

// withPolicy returns the entries of a policy.
func withPolicy(files map[string]string) []entry {
	list := []entry{file("etc/selinux/config", "# This file\nSELINUX=enforcing\nSELINUXTYPE=targeted\n")}
	for name := path.Dir(policyDir); name != "."; name = path.Dir(name) {
		list = slices.Insert(list, 0, dir(name, 0o755))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, file(policyDir+name, files[name]))
	}
	return list
}

func TestBootable(t *testing.T) {
	at := func(e entry, sec, nsec int64) entry {
		e.ModTime = time.Unix(sec, nsec)
		e.Format = tar.FormatPAX
		return e
	}
	entries := append(withPolicy(map[string]string{"file_contexts": "/.* any\n/boot -d boot\n/usr/a a\n/usr/c <<none>>\n"}),
		at(dir("usr", 0o755), 7, 8), at(dir("boot", 0o700), 1, 2), file("boot/vmlinuz", "x"), at(dir("sysroot", 0o755), 3, 4), dir("run", 0o755),
		file("usr/a", "a"), link("usr/b", "usr/a"), file("usr/c", "c"), link("run/a", "usr/a"), link("boot/a", "usr/a"),
	)
	m := newMemory(fsverity.SHA256)
	root, err := m.flatten(t, flatten.Options{}, makeTar(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	flatten.Canonical(root, flatten.ModeCanonical)
	if err := flatten.Bootable(t.Context(), root, m); err != nil {
		t.Fatal(err)
	}
	var got []string
	for path, e := range tree.Walk(root) {
		if label, ok := e.Inode.Xattr(selinux.Attribute); !strings.HasPrefix(string(path), "/etc") {
			got = append(got, fmt.Sprintf("%s %d.%d %d %v %s %v", path, e.Inode.Mtime.Sec, e.Inode.Mtime.Nsec, e.Inode.Nlink, e.Link, label, ok))
		}
	}
	if diff := cmp.Diff([]string{
		"/ 7.8 1 false any true", "/boot 7.8 1 false boot true", "/run 7.8 1 false any true", "/sysroot 7.8 1 false any true",
		"/usr 7.8 1 false any true", "/usr/a 0.0 1 false a true", "/usr/b 0.0 1 false any true", "/usr/c 0.0 1 false  false",
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBootableWithoutAnything(t *testing.T) {
	label := entry{Header: file("a", "").Header}
	label.PAXRecords = map[string]string{"SCHILY.xattr.security.selinux": "old"}
	root := mustFlatten(t, []entry{label})
	if err := flatten.Bootable(t.Context(), root, newMemory(fsverity.SHA256)); err != nil {
		t.Fatal(err)
	}
	if _, ok := root.Lookup("a").Xattr(selinux.Attribute); ok || len(root.Children) != 1 {
		t.Errorf("%+v", root)
	}
}

func TestBootableWithABadPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  error
	}{
		"missing":  {nil, selinux.ErrPolicy},
		"bad":      {map[string]string{"file_contexts": "/a\n"}, selinux.ErrPolicy},
		"too slow": {map[string]string{"file_contexts": "/(?=a)(((a+)+)+)+b label\n"}, selinux.ErrLimit},
	} {
		m := newMemory(fsverity.SHA256)
		root, err := m.flatten(t, flatten.Options{}, makeTar(t, append(withPolicy(test.files), file(strings.Repeat("a", 200), ""))...))
		if err != nil {
			t.Fatal(err)
		}
		if err := flatten.Bootable(t.Context(), root, m); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// policyOf makes a policy at random for the files of an image.
func policyOf(rnd *rand.Rand, root *tree.Inode) map[string]string {
	var paths []string
	for path := range tree.Walk(root) {
		paths = append(paths, string(path))
	}
	anyPath := func() string { return paths[rnd.IntN(len(paths))] }
	quote := func(s string) string {
		// In a policy no byte need be UTF-8, but composefs-rs wants it.
		s = regexp.QuoteMeta(strings.ToValidUTF8(s, "\n"))
		return strings.NewReplacer("\n", ".", " ", pickOf(rnd, ".", `[[:space:]]`, `\s`)).Replace(s)
	}
	contexts := func(n int) string {
		var b strings.Builder
		for i := range n {
			p := anyPath()
			q := quote(p)
			pattern := pickOf(rnd, q, q, q+"(/.*)?", q+"/.*", quote(path.Dir(p))+"/[^/]*", quote(p[:len(p)/2])+".*", q+"+",
				"/.*"+quote(path.Base(p)), "/(.*/)?"+quote(path.Base(p)), "("+q+"|"+quote(anyPath())+")", q+"|/usr", "/[a-z]+(/[^x]*)?",
				quote(path.Dir(p))+"/(?!a)[^/]+", q+"(?<![0-3])", quote(path.Dir(p))+"/[ab0-9]{2,3}", ".*[0-9]", `/\w+`, "/.?.?.?.?", q+"$", "^"+q,
				"/usr(?=/)/.*", "(/[^/]+){2}", "(/[^/]+)*/", "/[[:alpha:]]*")
			kind := pickOf(rnd, "", "", " --", " -d", " -l", " -c", " -b", " -p", " -s")
			fmt.Fprintf(&b, "%s%s\t%s\n", pattern, kind, pickOf(rnd, "<<none>>", fmt.Sprint("label", i), fmt.Sprint("label", i), "common"))
		}
		return b.String()
	}
	subs := func() string {
		var b strings.Builder
		for range rnd.IntN(5) {
			if from, to := anyPath(), anyPath(); utf8.ValidString(from+to) && !strings.Contains(from+to, " ") {
				fmt.Fprintf(&b, "%s %s\n", from, to)
			}
		}
		return b.String()
	}
	files := map[string]string{"file_contexts": contexts(3 + rnd.IntN(60))}
	for name, text := range map[string]string{
		"file_contexts.local": contexts(rnd.IntN(3)), "file_contexts.homedirs": contexts(rnd.IntN(3)),
		"file_contexts.subs": subs(), "file_contexts.subs_dist": subs(),
	} {
		if rnd.IntN(2) == 0 {
			files[name] = "# a comment\n\n" + text
		}
	}
	return files
}

func pickOf[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

func TestRandomBootableImagesAreThoseOfCfsctl(t *testing.T) {
	images := uint64(30)
	if testing.Short() {
		images = 3
	}
	for seed := range images {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 11))
			layers := append([][]byte{makeTar(t, dir("boot", 0o700), dir("sysroot", 0o700))}, randomImage(t, seed, false)...)
			m := newMemory(fsverity.SHA256)
			root, err := m.flatten(t, flatten.Options{}, layers...)
			if err != nil {
				t.Fatal(err)
			}
			if seed%8 != 0 {
				layers = append(layers, makeTar(t, withPolicy(policyOf(rnd, root))...))
			}
			p, err := pullWithCfsctl(t, fsverity.SHA256, layers...)
			if err != nil {
				t.Fatal(err)
			}
			for mode, option := range map[flatten.Mode]string{flatten.ModeCanonical: "allowlist-only", flatten.ModeUserXattrs: "keep-user-xattrs"} {
				root, err := m.flatten(t, flatten.Options{}, layers...)
				if err != nil {
					t.Fatal(err)
				}
				flatten.Canonical(root, mode)
				if err := flatten.Bootable(t.Context(), root, m); err != nil {
					t.Fatal(err)
				}
				for _, format := range formats {
					want, err := p.id(t, format, "--bootable", "--xattrs", option)
					if err != nil {
						t.Fatal(err)
					}
					if got := imageOf(t, root, format, fsverity.SHA256); got != want {
						t.Errorf("%v, %s: %s, cfsctl has %s", format, option, got, want)
						p.showDifference(t, root, "--bootable", "--xattrs", option)
					}
				}
			}
		})
	}
}
