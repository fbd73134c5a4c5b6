package tree_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// asNobody runs the test once more in a process without rights, if this one is root's, and
// says whether it did.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return false
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	return true
}

func TestScanNamesWhatAUserMayNotRead(t *testing.T) {
	if asNobody(t) {
		return
	}
	for name, path := range map[string]string{"file": "/sub/file", "directory": "/sub"} {
		dir := t.TempDir()
		write(t, dir+"/sub/file", make([]byte, 100))
		must(t, os.Chmod(dir+path, 0))
		t.Cleanup(func() { _ = os.Chmod(dir+path, 0o700) })
		_, err := tryScan(t, dir, tree.ScanOptions{})
		if !errors.Is(err, fs.ErrPermission) || errors.Is(err, tree.ErrChanged) ||
			!strings.Contains(err.Error(), "open "+dir+path+": ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUserExtractsAndScans(t *testing.T) {
	if asNobody(t) {
		return
	}
	for seed := range uint64(5) {
		objects := treetest.Objects{}
		// More directories than are kept open, some of which shut out their owner.
		opts := treetest.Options{Real: true, Objects: objects, Entries: 1200}
		root := treetest.Random(rand.New(rand.NewPCG(seed, 6)), opts)
		dir := t.TempDir()
		if err := extract(t, root, dir, objects, asUser); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		prepareForUser(root)
		must(t, unlock(dir, root))
		got := scan(t, dir, tree.ScanOptions{Hardlinks: true, Jobs: 3})
		if diff := differences(root, got); diff != nil {
			t.Fatalf("seed %d: %s", seed, strings.Join(diff, "\n"))
		}
	}
}

// prepareForUser changes a tree as the extraction for the caller alone does, and lets its
// owner read everything.
func prepareForUser(root *tree.Inode) {
	for _, e := range tree.Walk(root) {
		n := e.Inode
		n.UID, n.GID = uint32(os.Getuid()), uint32(os.Getgid())
		if !n.IsSymlink() {
			n.Mode = n.Mode&^0o6000 | 0o700
		}
		var user []tree.Xattr
		for _, x := range n.Xattrs {
			if strings.HasPrefix(x.Name, "user.") {
				user = append(user, x)
			}
		}
		n.Xattrs = user
		for _, child := range append([]tree.Entry(nil), n.Children...) {
			if child.Inode.IsDevice() {
				n.Remove(child.Name)
			}
		}
	}
}

// unlock gives the extracted files the permissions that prepareForUser gave the tree's.
func unlock(dir string, root *tree.Inode) error {
	for path, e := range tree.Walk(root) {
		if e.Inode.IsSymlink() {
			continue
		}
		if err := unix.Chmod(dir+string(path), e.Inode.Perm()); err != nil {
			return &fs.PathError{Op: "chmod", Path: string(path), Err: err}
		}
	}
	return nil
}
