package mount

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// Kernels before 6.15 stack an overlay only on mounts that are attached in the caller's mount
// namespace. So that nobody ever sees the hidden EROFS mount, and nothing of it is left if the
// process is killed, it is attached in a namespace that one thread makes for itself and that
// ends with the thread. The overlay keeps private clones of its layers; its detached mount may
// be attached in any namespace.

// overlayByName mounts the overlay with layers given as strings.
func (j *job) overlayByName(l layers) (*os.File, error) {
	if err := j.ways.step("namespace"); err != nil {
		return nil, j.kernelError("make a mount namespace for image", err)
	}
	var mnt *os.File
	err := inMountNamespace(func() error {
		var n namedLayers
		defer n.Close()
		if err := n.prepare(j, l); err != nil {
			return err
		}
		var err error
		mnt, err = j.tryNames(&n)
		return err
	})
	return mnt, err
}

// tryNames goes from the newest way of naming layers to the oldest.
func (j *job) tryNames(n *namedLayers) (*os.File, error) {
	ways := []func(fs *os.File) error{
		func(fs *os.File) error { return j.layersByPlus(fs, n) },
		func(fs *os.File) error { return j.layersByColons(fs, n, "::") },
	}
	// Before data-only layers (6.5) the objects were an ordinary layer below the image,
	// which then must hide the object directories by stubs; format 2 has none.
	if j.header.format < 2 && j.state.Verity == VerityOff {
		ways = append(ways, func(fs *os.File) error { return j.layersByColons(fs, n, ":") })
	}
	// An old kernel that dislikes something else says so to the way that it knows, the last.
	var mnt *os.File
	var err error
	for _, way := range ways {
		if mnt, err = j.overlay(way); !badLayers(err) {
			break
		}
	}
	return mnt, err
}

// layersByPlus hands each layer over by itself: Linux 6.8.
func (j *job) layersByPlus(fs *os.File, n *namedLayers) error {
	if j.ways.noPlus {
		return unix.EINVAL
	}
	if err := linux.FSConfigString(fs, "lowerdir+", n.image); err != nil {
		return err
	}
	for _, dir := range n.data {
		if err := linux.FSConfigString(fs, "datadir+", dir); err != nil {
			return fmt.Errorf("object directory %s: %w", dir, err)
		}
	}
	return n.setUpper(fs)
}

// layersByColons hands all lower layers over in one string.
func (j *job) layersByColons(fs *os.File, n *namedLayers, separator string) error {
	if j.ways.noDataOnly && separator == "::" {
		return unix.EINVAL
	}
	if err := linux.FSConfigString(fs, "lowerdir", n.lowerdir(separator)); err != nil {
		return fmt.Errorf("option lowerdir with %d object directories: %w", len(n.data), err)
	}
	return n.setUpper(fs)
}

// namedLayers are layers as strings for the kernel: the path where that is the open directory,
// so that mountinfo shows it, else the path of the descriptor.
type namedLayers struct {
	image       string
	data        []string
	upper, work string // empty if there are none
	files       []*os.File
	attached    []*os.File // mounts that must go before the namespace does
}

// prepare attaches the detached layers in the thread's own mount namespace and finds the
// others there again.
func (n *namedLayers) prepare(j *job, l layers) error {
	// Mounts on / are out of the way: lookups start below them.
	root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	n.files = append(n.files, root)
	for _, mnt := range []*os.File{l.image, l.none} {
		if mnt == nil {
			continue
		}
		if err := linux.MoveMount(mnt, root); err != nil {
			return j.kernelError("attach layer of image", err)
		}
		n.attached = append(n.attached, mnt)
	}
	n.image = procPath(l.image)
	for _, dir := range l.data {
		name := procPath(dir) // of a mount that is here only
		if l.none == nil {
			if name, err = n.find(dir); err != nil {
				return fmt.Errorf("object directory %s: %w", dir.Name(), err)
			}
		}
		n.data = append(n.data, name)
	}
	if j.Upper == nil {
		return nil
	}
	if n.upper, err = n.find(j.Upper); err != nil {
		return fmt.Errorf("upper directory %s: %w", j.Upper.Name(), err)
	}
	if n.work, err = n.find(j.Work); err != nil {
		return fmt.Errorf("work directory %s: %w", j.Work.Name(), err)
	}
	return nil
}

// find opens the directory once more by its path, in this namespace, and returns a string that
// leads to it. It stays open until Close.
func (n *namedLayers) find(dir *os.File) (string, error) {
	again, err := openByPath(dir)
	if err != nil {
		return "", fmt.Errorf("this kernel needs it under its path: %w", err)
	}
	n.files = append(n.files, again)
	return layerName(again), nil
}

// openByPath opens an open directory once more by the path that the kernel has for it, and
// makes sure that this is the same directory.
func openByPath(dir *os.File) (*os.File, error) {
	path, err := os.Readlink(procPath(dir))
	if err != nil {
		return nil, err
	}
	again, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	was, err := dir.Stat()
	if err == nil {
		var is os.FileInfo
		if is, err = again.Stat(); err == nil && !os.SameFile(was, is) {
			err = &os.PathError{Op: "open", Path: path, Err: unix.ESTALE}
		}
	}
	if err != nil {
		return nil, errors.Join(err, again.Close())
	}
	return again, nil
}

// layerName avoids paths that are too long for fsconfig(2), or have characters that one
// kernel or another takes for separators or escapes.
func layerName(dir *os.File) string {
	if path := dir.Name(); len(path) <= stringMax && !strings.ContainsAny(path, `,:\`) {
		return path
	}
	return procPath(dir)
}

// lowerdir joins the lower layers. If that is too long descriptors stand for all paths.
func (n *namedLayers) lowerdir(separator string) string {
	joined := strings.Join(append([]string{n.image}, n.data...), separator)
	if len(joined) <= stringMax {
		return joined
	}
	names := []string{n.image}
	for _, name := range n.data {
		for _, f := range n.files {
			if f.Name() == name {
				name = procPath(f)
				break
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, separator)
}

func (n *namedLayers) setUpper(fs *os.File) error {
	if n.upper == "" {
		return nil
	}
	if err := linux.FSConfigString(fs, "upperdir", n.upper); err != nil {
		return fmt.Errorf("upper directory %s: %w", n.upper, err)
	}
	if err := linux.FSConfigString(fs, "workdir", n.work); err != nil {
		return fmt.Errorf("work directory %s: %w", n.work, err)
	}
	return nil
}

// Close gives the directories back and detaches what was attached, without waiting for the end
// of the namespace, which comes some time after that of the thread.
func (n *namedLayers) Close() {
	for _, mnt := range n.attached {
		_ = linux.Unmount(procPath(mnt), unix.MNT_DETACH)
	}
	for _, f := range n.files {
		_ = f.Close()
	}
}

// inMountNamespace runs the function in a private copy of the mount namespace, on a thread of
// its own that ends with it.
func inMountNamespace(f func() error) error {
	done := make(chan error)
	go onOwnThread(func() {
		err := enterMountNamespace()
		if err == nil {
			err = f()
		}
		done <- err
	})
	return <-done
}

// onOwnThread runs the function on a thread that it may ruin. The main thread is none: it
// cannot end, and /proc/self shows its namespace to everybody.
func onOwnThread(f func()) {
	runtime.LockOSThread() // and never unlocked, so the thread ends here
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		onOwnThread(f)
		close(done)
	}()
	<-done
	runtime.UnlockOSThread()
}

func enterMountNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", os.NewSyscallError("unshare", err))
	}
	// A process in a chroot cannot reach the root mount that must become private; entering
	// the namespace once more resets the root directory.
	ns, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	err = os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
	if err == nil {
		err = linux.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err = errors.Join(err, ns.Close()); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	return nil
}
