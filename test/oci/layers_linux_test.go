package oci

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// entry is one of a layer made for a test.
type entry struct {
	tar.Header
	content string
}

// writeTar writes a layer, and returns its path.
func writeTar(t testing.TB, entries []entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		e.ModTime = time.Unix(1_700_000_000, 123_000_000)
		e.Format = tar.FormatPAX
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func regular(name, content string, mode int64) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, content}
}

// changes is a layer that changes what the base has: whiteouts, links to lower files, attributes, set-id bits,
// replaced directories and files.
func changes(t testing.TB) string {
	t.Helper()
	capable := entry{tar.Header{
		Name: "usr/bin/capable", Typeflag: tar.TypeReg, Mode: 0o755,
		PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "SCHILY.xattr.user.note": "kept by none"},
	}, strings.Repeat("#!/bin/sh\n", 30)}
	return writeTar(t, []entry{
		{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		regular("etc/.wh.debian_version", "", 0o644),
		regular("etc/os-release.d", "a file of this layer that is long enough to be an object of its own, I hope", 0o640),
		{tar.Header{Name: "usr/bin/dash-again", Typeflag: tar.TypeLink, Linkname: "usr/bin/dash"}, ""},
		capable,
		regular("usr/bin/setuid", "x", 0o4755),
		{tar.Header{Name: "usr/share/doc/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 12, Gid: 34}, ""},
		regular("usr/share/doc/.wh..wh..opq", "", 0o644),
		regular("usr/share/doc/only", "the only one", 0o644),
		{tar.Header{Name: "var/fifo", Typeflag: tar.TypeFifo, Mode: 0o600}, ""},
		{tar.Header{Name: "dev/null2", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
	})
}

// moreChanges is a layer on top: parents that are symlinks or missing, a directory that becomes a file.
func moreChanges(t testing.TB) string {
	t.Helper()
	return writeTar(t, []entry{
		regular("bin/through-a-link", "in /usr/bin", 0o755), // /bin is a symlink
		regular("opt/a/b/c/implied", "its parents have no entries", 0o644),
		regular("usr/share/man", "was a directory", 0o644),
		{tar.Header{Name: "usr/share/long", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x/", 1000), Mode: 0o777}, ""},
		regular("usr/share/"+strings.Repeat("n", 255), "a long name", 0o644),
	})
}
