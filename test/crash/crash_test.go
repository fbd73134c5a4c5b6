//go:build linux

// Package crash kills the composefs program while it works, and looks at what is left.
package crash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/objects"
)

// buildProgram compiles the program that is killed.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "composefs")
	out, err := exec.Command("go", "build", "-o", path, "github.com/go-composefs/composefs/cmd/composefs").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// makeSource writes a tree of files that takes the program some tens of milliseconds.
func makeSource(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		sub := filepath.Join(dir, fmt.Sprint("dir", i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			data := make([]byte, random.IntN(60000))
			for k := range data {
				data[k] = byte(random.Uint32())
			}
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("file", j)), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// checkLeft looks at what an ended build has left: whole objects under their names, the image
// complete or not there, nothing else.
func checkLeft(t *testing.T, dir string, mayLeaveTemporaries bool) (hasImage bool) {
	t.Helper()
	store, err := objects.Open(filepath.Join(dir, "store"), objects.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for digest, err := range store.All() {
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Verify(t.Context(), digest); err != nil {
			t.Error(err)
		}
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name := e.Name()
		switch {
		case err != nil || e.IsDir():
		case name == "image" || len(name) == 62:
		case strings.HasPrefix(name, ".") && mayLeaveTemporaries:
			return os.Remove(path)
		default:
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "image"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := erofs.OpenFile(f)
	if err != nil {
		t.Fatalf("the image is not whole: %v", err)
	}
	for problem := range img.Check(erofs.CheckOptions{}) {
		t.Errorf("the image is not whole: %v", problem)
	}
	root, err := img.Tree(erofs.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Publish last: an image that is there has all its objects.
	for _, sub := range root.Children {
		for _, e := range sub.Inode.Children {
			if !e.Inode.IsExternal() {
				continue
			}
			if _, err := store.Stat(e.Inode.Digest); err != nil {
				t.Errorf("the image is there, an object is not: %v", err)
			}
		}
	}
	return true
}

// TestEndedAtAnyMoment ends builds at moments spread over their whole run. The last one is left
// alone and must succeed on what the others left.
func TestEndedAtAnyMoment(t *testing.T) {
	program, source := buildProgram(t), makeSource(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			run := func(after time.Duration) (ended bool) {
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				cmd := exec.CommandContext(ctx, program, "build", "--store", filepath.Join(dir, "store"), source, filepath.Join(dir, "image"))
				cmd.Cancel = func() error { return cmd.Process.Signal(sig) }
				out, err := cmd.CombinedOutput()
				if err != nil && ctx.Err() == nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return err != nil
			}
			start := time.Now()
			run(time.Hour)
			whole := time.Since(start)
			runs, ended := 20, 0
			if testing.Short() {
				runs = 8
			}
			for i := range runs {
				if err := os.RemoveAll(filepath.Join(dir, "store")); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(filepath.Join(dir, "image")); err != nil {
					t.Fatal(err)
				}
				if run(whole * time.Duration(i+1) / time.Duration(runs)) {
					ended++
				}
				checkLeft(t, dir, sig == syscall.SIGKILL)
			}
			if ended == 0 {
				t.Error("no run was ended early: the test proves nothing")
			}
			run(time.Hour)
			if !checkLeft(t, dir, false) {
				t.Error("no image after a build that nobody ended")
			}
		})
	}
}
