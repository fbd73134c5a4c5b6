package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// A directory that holds itself must not be walked for ever.
func TestCommandsEndOnADirectoryLoop(t *testing.T) {
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 3}
	outer := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 3}
	inner := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 2}
	for _, add := range []struct {
		dir, child *tree.Inode
		name       string
	}{{root, outer, "outer"}, {outer, inner, "inner"}} {
		if err := add.dir.Add(tree.Entry{Name: add.name, Inode: add.child}); err != nil {
			t.Fatal(err)
		}
	}
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: erofs.FormatV1}); err != nil {
		t.Fatal(err)
	}
	img, err := erofs.Open(bytes.NewReader(image.Bytes()), int64(image.Len()))
	if err != nil {
		t.Fatal(err)
	}
	nid := func(path string) []byte {
		in, err := img.FS(erofs.FSOptions{}).Inode(path, false)
		if err != nil {
			t.Fatal(err)
		}
		return binary.LittleEndian.AppendUint64(nil, in.Nid)
	}
	loop := bytes.ReplaceAll(image.Bytes(), nid("outer/inner"), nid("outer"))
	path := filepath.Join(t.TempDir(), "loop.cfs")
	if err := os.WriteFile(path, loop, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"ls", "-R", path},
		{"dump", path},
		{"objects", path},
		{"check", path},
		{"diff", path, path},
		{"export", path, filepath.Join(t.TempDir(), "out")},
	} {
		std := testStreams(t)
		if exit := composefs(t.Context(), std, args); exit != exitBad {
			t.Errorf("composefs %s: exit code %d: %s", strings.Join(args, " "), exit, contents(t, std.err))
		}
	}
}

// Opening a FIFO waits for a writer, and nothing ends that system call.
func TestBuildEndsWhileItWaitsForADump(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	std := testStreams(t)
	image := filepath.Join(t.TempDir(), "image")
	if exit := composefs(ctx, std, []string{"build", "--from-file", fifo, image}); exit != exitFailed {
		t.Errorf("exit code %d: %s", exit, contents(t, std.err))
	}
	if _, err := os.Lstat(image); err == nil {
		t.Error("there is an image")
	}
}

// testStreams returns standard streams that are empty files.
func testStreams(t *testing.T) streams {
	t.Helper()
	var std streams
	for _, f := range []**os.File{&std.in, &std.out, &std.err} {
		var err error
		if *f, err = os.CreateTemp(t.TempDir(), "stream"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*f).Close() })
	}
	return std
}
