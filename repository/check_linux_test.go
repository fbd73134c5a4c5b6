package repository

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
)

func TestRepositoryOfAnotherUserCanBeChecked(t *testing.T) {
	testenv.Root(t)
	r := newRepository(t, fsverity.SHA256)
	importFiles(t, r, files{"a": "content"}, "x")
	if err := os.Chmod(r.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(r.Path(), quarantineDir), 0o700); err != nil {
		t.Fatal(err)
	}
	reader, err := Open(r.Path(), Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	// Only of this thread, by which all but objects is looked at.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setfsuid(0) }()
	if _, err := os.ReadDir(filepath.Join(r.Path(), leasesDir)); !os.IsPermission(err) {
		t.Fatalf("leases can be read: %v", err)
	}
	wantProblems(t, check(t, reader, CheckOptions{}))
}
