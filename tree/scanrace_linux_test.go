package tree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// onList calls a function when the scan has listed the first directory and opened nothing in
// it yet.
type onList struct {
	once sync.Once
	do   func()
}

func (l *onList) Add(int, int64) { l.once.Do(l.do) }

func TestScanSeesWhatHappensAfterListing(t *testing.T) {
	for name, test := range map[string]struct {
		victim string
		change func(t *testing.T, path string)
	}{
		"file vanishes":           {"file", func(*testing.T, string) {}},
		"file becomes symlink":    {"file", func(t *testing.T, path string) { must(t, os.Symlink("/etc/passwd", path)) }},
		"file becomes fifo":       {"file", func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) }},
		"file becomes directory":  {"file", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o755)) }},
		"directory vanishes":      {"sub", func(*testing.T, string) {}},
		"directory becomes link":  {"sub", func(t *testing.T, path string) { must(t, os.Symlink("/etc", path)) }},
		"directory becomes fifo":  {"sub", func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) }},
		"symlink becomes a file":  {"link", func(t *testing.T, path string) { write(t, path, []byte("x")) }},
		"symlink becomes nothing": {"link", func(*testing.T, string) {}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := dir + "/" + test.victim
			write(t, dir+"/file", make([]byte, 100))
			must(t, os.Mkdir(dir+"/sub", 0o755))
			must(t, os.Symlink("target", dir+"/link"))
			hook := &onList{do: func() {
				must(t, os.Remove(path))
				test.change(t, path)
			}}
			_, err := tryScan(t, dir, tree.ScanOptions{Progress: hook, Jobs: 1})
			if !errors.Is(err, tree.ErrChanged) || !strings.Contains(err.Error(), " "+path+":") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// sinkFunc is a sink that is a function.
type sinkFunc func(f *os.File, size int64) error

func (s sinkFunc) Put(_ context.Context, f *os.File, size int64) (fsverity.Digest, error) {
	if err := s(f, size); err != nil {
		return fsverity.Digest{}, err
	}
	return fsverity.Sum(fsverity.SHA256, nil)
}

func TestScanSeesFilesChangeWhileTheyAreRead(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"grows":       func(path string) error { return os.Truncate(path, 1001) },
		"shrinks":     func(path string) error { return os.Truncate(path, 1) },
		"other bytes": func(path string) error { return os.WriteFile(path, make([]byte, 1000), 0o644) },
		"permissions": func(path string) error { return os.Chmod(path, 0o600) },
		"attributes":  func(path string) error { return unix.Lsetxattr(path, "user.a", []byte("b"), 0) },
		"removed":     os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := dir + "/file"
			write(t, path, make([]byte, 1000))
			// Clocks of files may be coarse: the change must be seen to come later.
			must(t, os.Chtimes(path, timeOf(1, 0), timeOf(1, 0)))
			waitForNewTime(t, path)
			sink := sinkFunc(func(*os.File, int64) error { return change(path) })
			_, err := tryScan(t, dir, tree.ScanOptions{Sink: sink})
			if !errors.Is(err, tree.ErrChanged) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			// What the sink complains about then is only a symptom.
			failing := sinkFunc(func(*os.File, int64) error { return errors.Join(change(path), unix.EIO) })
			write(t, path, make([]byte, 1000))
			waitForNewTime(t, path)
			if _, err := tryScan(t, dir, tree.ScanOptions{Sink: failing}); name != "attributes" && !errors.Is(err, tree.ErrChanged) {
				t.Errorf("with an error from the sink: got %v", err)
			}
		})
	}
}

// waitForNewTime returns when a change would give the file another ctime.
func waitForNewTime(t *testing.T, path string) {
	t.Helper()
	var before, now unix.Stat_t
	must(t, unix.Lstat(path, &before))
	probe := t.TempDir() + "/probe"
	for now.Ctim == (unix.Timespec{}) || now.Ctim == before.Ctim {
		must(t, os.WriteFile(probe, nil, 0o644))
		must(t, unix.Lstat(probe, &now))
		must(t, os.Remove(probe))
	}
}

func TestScanSeesAHardLinkChange(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", make([]byte, 1000))
	must(t, os.Link(dir+"/a", dir+"/b"))
	waitForNewTime(t, dir+"/a")
	var once sync.Once
	sink := sinkFunc(func(*os.File, int64) error { return nil })
	hook := progressFunc(func(files int, bytes int64) {
		if bytes > 0 {
			once.Do(func() { must(t, os.Chmod(dir+"/a", 0o600)) })
		}
	})
	_, err := tryScan(t, dir, tree.ScanOptions{Hardlinks: true, Jobs: 1, Sink: sink, Progress: hook})
	if !errors.Is(err, tree.ErrChanged) || !strings.Contains(err.Error(), dir+"/b") {
		t.Errorf("got %v", err)
	}
}

// A listing must not mix the names of two moments.
func TestScanSeesADirectoryChangeWhileItIsListed(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		write(t, fmt.Sprintf("%s/%d%s", dir, i, strings.Repeat("x", 200)), nil)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := os.Symlink("x", fmt.Sprint(dir, "/new", i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	for range 100 {
		_, err := tryScan(t, dir, tree.ScanOptions{})
		if errors.Is(err, tree.ErrChanged) && strings.HasPrefix(err.Error(), "list "+dir+":") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("100 scans saw nothing")
}

// A directory that is opened again, after many others were open, must be the same one.
func TestScanSeesADirectoryReplaced(t *testing.T) {
	dir := t.TempDir()
	must(t, extract(t, deepTree(t, 300, "d"), dir, nil, tree.ExtractOptions{NoOwner: true}))
	write(t, dir+"/other/z-sub/file", nil)
	deepest := strings.Repeat("/d", 299) + "/z-file"
	swap := sinkFunc(func(f *os.File, _ int64) error {
		if f.Name() != dir+deepest {
			return nil
		}
		return errors.Join(os.Rename(dir+"/d", dir+"/moved"), os.Rename(dir+"/other", dir+"/d"))
	})
	_, err := tryScan(t, dir, tree.ScanOptions{Sink: swap, InlineMax: -1, Jobs: 1})
	if !errors.Is(err, tree.ErrChanged) || !strings.Contains(err.Error(), "open "+dir+"/d: ") {
		t.Errorf("got %.200v", err)
	}
}

type progressFunc func(files int, bytes int64)

func (f progressFunc) Add(files int, bytes int64) { f(files, bytes) }

// A name that is swapped all the time for a symlink to a secret, or a directory for a symlink
// to the secret's directory, must never bring the secret into the tree.
func TestScanIsNeverLedAstray(t *testing.T) {
	secret := t.TempDir()
	write(t, secret+"/file", []byte("secret"))
	dir := t.TempDir()
	write(t, dir+"/file", []byte("public"))
	write(t, dir+"/sub/file", []byte("public"))
	must(t, os.Symlink(secret+"/file", dir+"/evil-file"))
	must(t, os.Symlink(secret, dir+"/evil-sub"))
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			for _, name := range []string{"file", "sub"} {
				select {
				case <-stop:
					return
				default:
				}
				err := unix.Renameat2(unix.AT_FDCWD, dir+"/"+name, unix.AT_FDCWD, dir+"/evil-"+name, unix.RENAME_EXCHANGE)
				if err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	scanned := 0
	const scans = 1000
	for range scans {
		root, err := tryScan(t, dir, tree.ScanOptions{})
		if errors.Is(err, tree.ErrChanged) {
			continue
		}
		if err != nil {
			t.Error(err)
			break
		}
		scanned++
		for path, e := range tree.Walk(root) {
			if string(e.Inode.Content) == "secret" {
				t.Errorf("the secret is in the tree as %s", path)
			}
		}
	}
	close(stop)
	swapper.Wait()
	t.Logf("%d scans of %d saw a tree at rest", scanned, scans)
}

// linkingSink makes hard links of each file until its ctime has moved on.
type linkingSink struct {
	to string
}

func (s linkingSink) Put(ctx context.Context, f *os.File, size int64) (fsverity.Digest, error) {
	var before, after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &before); err != nil {
		return fsverity.Digest{}, err
	}
	for i := 0; i == 0 || before.Ctim == after.Ctim; i++ {
		if err := os.Link(f.Name(), fmt.Sprintf("%s/%d-%d", s.to, before.Ino, i)); err != nil {
			return fsverity.Digest{}, err
		}
		if err := unix.Fstat(int(f.Fd()), &after); err != nil {
			return fsverity.Digest{}, err
		}
	}
	return fsverity.File(ctx, f, size, fsverity.FileOptions{})
}

func TestLinksThatTheSinkMakesAreNoChanges(t *testing.T) {
	for _, said := range []bool{false, true} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/a", []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(dir+"/a", dir+"/z"); err != nil {
			t.Fatal(err)
		}
		root, err := tryScan(t, dir, tree.ScanOptions{
			Sink: linkingSink{t.TempDir()}, SinkLinks: said, InlineMax: -1, Hardlinks: true, Jobs: 1,
		})
		switch {
		case !said && !errors.Is(err, tree.ErrChanged):
			t.Errorf("a sink that makes links unsaid: %v, want %v", err, tree.ErrChanged)
		case said && err != nil:
			t.Error(err)
		case said && (root.Lookup("a") == nil || root.Lookup("a") != root.Lookup("z")):
			t.Errorf("a and z are %v and %v, not one file", root.Lookup("a"), root.Lookup("z"))
		}
	}
}
