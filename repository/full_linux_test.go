package repository

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-composefs/composefs/internal/testenv"
)

func TestNamesCanBeRemovedFromAFullDisk(t *testing.T) {
	testenv.Root(t)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(disk, "repo")
	if _, err := Create(path, CreateOptions{Insecure: true}); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	importFiles(t, r, files{"a": "content"}, "name")
	fillDisk(t, filepath.Join(disk, "other"))

	// It holds what is full: nothing is listed in a wrong place when there is space again.
	tx := begin(t, r)
	if err := r.UntagImage(t.Context(), "name"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(disk, "other")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Use(digestOf(t, r, "content")); err != nil {
		t.Fatal(err)
	}
	collect(t, open(t, path), CollectOptions{})
	wantHas(t, r, "content", true)
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	collect(t, r, CollectOptions{})
	wantHas(t, r, "content", false)
}

// fillDisk writes a file until nothing more can be written.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 1<<16))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
