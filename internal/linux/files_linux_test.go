package linux

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openPath(t *testing.T, path string) int {
	t.Helper()
	fd, err := OpenPath(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Attributes are the same by each of the three ways to read them.
func TestXattrsByEachWay(t *testing.T) {
	path := t.TempDir() + "/file"
	write(t, path, "")
	value := strings.Repeat("v", 1000)
	if err := unix.Lsetxattr(path, "user.test", []byte(value), 0); err != nil {
		t.Skip("no attributes here: ", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ref := openPath(t, path)
	type way struct {
		list func(dest []byte) (int, error)
		get  func(name string, dest []byte) (int, error)
	}
	ways := map[string]way{
		"open": {
			func(b []byte) (int, error) { return ListXattr(int(f.Fd()), false, b) },
			func(n string, b []byte) (int, error) { return GetXattr(int(f.Fd()), false, n, b) },
		},
		"reference": {
			func(b []byte) (int, error) { return ListXattr(ref, true, b) },
			func(n string, b []byte) (int, error) { return GetXattr(ref, true, n, b) },
		},
		"proc": {
			func(b []byte) (int, error) { return unix.Listxattr(FDPath(ref), b) },
			func(n string, b []byte) (int, error) { return unix.Getxattr(FDPath(ref), n, b) },
		},
	}
	for name, w := range ways {
		buf := make([]byte, 2000)
		n, err := w.list(buf)
		if err != nil || !slices.Contains(strings.Split(string(buf[:n]), "\x00"), "user.test") {
			t.Errorf("%s: list is %q, %v", name, buf[:max(n, 0)], err)
		}
		if n, err = w.get("user.test", buf); err != nil || string(buf[:n]) != value {
			t.Errorf("%s: value of %d bytes, %v", name, n, err)
		}
		if _, err = w.list(buf[:3]); !errors.Is(err, unix.ERANGE) {
			t.Errorf("%s: small buffer for the list gives %v", name, err)
		}
		if _, err = w.get("user.test", buf[:3]); !errors.Is(err, unix.ERANGE) {
			t.Errorf("%s: small buffer for the value gives %v", name, err)
		}
		if n, err = w.get("user.test", nil); err != nil || n != len(value) {
			t.Errorf("%s: asked for the size, got %d, %v", name, n, err)
		}
		if _, err = w.get("user.nothing", buf); !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s: missing attribute gives %v", name, err)
		}
	}
}

func TestReadDirWithASmallBuffer(t *testing.T) {
	dir := t.TempDir()
	want := map[string]uint32{}
	for i := range 100 {
		name := fmt.Sprintf("%d%s", i, strings.Repeat("\xff", i))
		write(t, dir+"/"+name, "")
		want[name] = unix.S_IFREG
	}
	if err := os.Mkdir(dir+"/.dir", 0o755); err != nil {
		t.Fatal(err)
	}
	want[".dir"] = unix.S_IFDIR
	fd, err := OpenDir(unix.AT_FDCWD, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for e, err := range ReadDir(fd, make([]byte, 512)) {
		if err != nil {
			t.Fatal(err)
		}
		if kind, ok := want[string(e.Name)]; !ok || kind != e.Type {
			t.Errorf("%q of type %o", e.Name, e.Type)
		}
		delete(want, string(e.Name))
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	for _, err := range ReadDir(openPath(t, dir), make([]byte, 512)) {
		if !errors.Is(err, unix.EBADF) {
			t.Errorf("a reference gives %v", err)
		}
	}
}

func TestReopenIsNotFooledByNames(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "first")
	ref := openPath(t, dir+"/a")
	if err := os.Remove(dir + "/a"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/a", "second")
	fd, err := Reopen(ref, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 10)
	if n, err := ReadAt(fd, buf, 1); err != nil || string(buf[:n]) != "irst" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}

func TestReadLink(t *testing.T) {
	path := t.TempDir() + "/link"
	if err := os.Symlink("target", path); err != nil {
		t.Fatal(err)
	}
	fd := openPath(t, path)
	if got, err := ReadLink(fd, make([]byte, 7)); got != "target" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := ReadLink(fd, make([]byte, 6)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("full buffer gives %v", err)
	}
}

func TestOpenDirTakesNothingElse(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Symlink(".", dir+"/link"), unix.Mkfifo(dir+"/fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "fifo", "nothing"} {
		if fd, err := OpenDir(unix.AT_FDCWD, dir+"/"+name); err == nil {
			unix.Close(fd)
			t.Errorf("%s was opened", name)
		}
	}
}

func TestMetadataByReference(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Symlink("x", dir+"/link"), unix.Mkfifo(dir+"/fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	ref := openPath(t, dir+"/fifo")
	if err := Chmod(ref, true, 0o1234); err != nil {
		t.Fatal(err)
	}
	if err := Chown(ref, uint32(os.Getuid()), uint32(os.Getgid())); err != nil {
		t.Fatal(err)
	}
	if err := SetMtime(unix.AT_FDCWD, dir+"/link", -5, 7); err != nil {
		t.Fatal(err)
	}
	var st unix.Statx_t
	if err := Stat(ref, &st); err != nil || st.Mode != unix.S_IFIFO|0o1234 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
	if err := StatAt(unix.AT_FDCWD, dir+"/link", &st); err != nil || st.Mtime.Sec != -5 || st.Mtime.Nsec != 7 {
		t.Errorf("mtime %d.%d, %v", st.Mtime.Sec, st.Mtime.Nsec, err)
	}
	// Numbers that mean something else than themselves.
	if err := Chown(ref, 1<<32-1, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("owner -1 gives %v", err)
	}
	if err := SetMtime(unix.AT_FDCWD, dir+"/link", 0, unix.UTIME_OMIT); !errors.Is(err, unix.EINVAL) {
		t.Errorf("UTIME_OMIT gives %v", err)
	}
}
