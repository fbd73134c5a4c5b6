package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// puts are the ways to store data.
var puts = map[string]func(t *testing.T, d *Dir, data []byte) (Stored, error){
	"file": func(t *testing.T, d *Dir, data []byte) (Stored, error) {
		return d.Put(t.Context(), tempFile(t, data), int64(len(data)))
	},
	"bytes": func(t *testing.T, d *Dir, data []byte) (Stored, error) { return d.PutBytes(t.Context(), data) },
	"stream": func(t *testing.T, d *Dir, data []byte) (Stored, error) {
		return d.PutReader(t.Context(), bytes.NewReader(data))
	},
}

// TestFaultAtAnyStep fails each step of each way to store something, one after the other. Nothing
// may be visible but what was there before, and the same store must work when the fault is gone.
func TestFaultAtAnyStep(t *testing.T) {
	for way, put := range puts {
		for _, size := range []int{3000, smallMax + 3000} {
			for _, named := range []bool{false, true} {
				for _, before := range []string{"nothing", "a broken object"} {
					t.Run(fmt.Sprintf("%s of %d, named %v, over %s", way, size, named, before), func(t *testing.T) {
						faultAtAnyStep(t, put, size, named, before == "a broken object", "write")
						if way == "file" && size > smallMax {
							faultAtAnyStep(t, put, size, named, before == "a broken object", "copy")
						}
					})
				}
			}
		}
	}
}

func faultAtAnyStep(t *testing.T, put func(*testing.T, *Dir, []byte) (Stored, error), size int, named, broken bool, fill string) {
	data := pattern(size)
	digest, err := fsverity.Sum(fsverity.SHA256, data)
	if err != nil {
		t.Fatal(err)
	}
	fault := errors.New("fault")
	var seen []string
	for k := 1; ; k++ {
		d := openStore(t, Options{Verity: VerityTry})
		d.noUnnamed.Store(named)
		d.noClone.Store(true)
		d.noCopy.Store(fill != "copy")
		path := filepath.Join(d.Path(), digest.ObjectPath())
		if broken {
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("broken"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		was := files(t, d)

		count, failed := 0, ""
		d.beforeStep = func(step string) error {
			if count++; count == k {
				failed = step
				return fault
			}
			return nil
		}
		_, err := put(t, d, data)
		d.beforeStep = nil
		if failed == "" {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		seen = append(seen, failed)
		if failed == "enable" { // which is only tried
			if err != nil {
				t.Errorf("fault in %s: %v", failed, err)
			}
			continue
		}
		if !errors.Is(err, fault) {
			t.Errorf("fault in %s: error is %v", failed, err)
		}
		if got := files(t, d); !slices.Equal(got, was) {
			t.Errorf("fault in %s: the store has %q, had %q", failed, got, was)
		}
		if _, err := put(t, d, data); err != nil {
			t.Errorf("after a fault in %s: %v", failed, err)
		}
		checkObject(t, d, digest, data)
		if got := files(t, d); len(got) != 1 {
			t.Errorf("after a fault in %s: the store has %q", failed, got)
		}
	}
	want := []string{"open", fill, "chmod", "reopen", "enable"}
	if !broken {
		want = append(want, "mkdir")
	}
	if named || broken {
		want = append(want, "rename")
	}
	if !named {
		want = append(want, "link")
	}
	for _, step := range want {
		if !slices.Contains(seen, step) {
			t.Errorf("no fault was tried in %q, only in %q", step, seen)
		}
	}
}

// TestFileThatChangesWhileItIsStored changes a file after its digest was taken.
func TestFileThatChangesWhileItIsStored(t *testing.T) {
	const size = 2*smallMax + 100
	for name, change := range map[string]func(path string) error{
		"other content": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("changed"), size-50)
			return errors.Join(err, f.Close())
		},
		"shorter": func(path string) error { return os.Truncate(path, size-1) },
		"longer":  func(path string) error { return os.Truncate(path, size+1) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, byKernel := range []bool{false, true} {
				d := openStore(t, Options{})
				d.noCopy.Store(!byKernel)
				f := tempFile(t, pattern(size))
				d.beforeStep = func(step string) error {
					if step == "open" {
						return change(f.Name())
					}
					return nil
				}
				if _, err := d.Put(t.Context(), f, size); !errors.Is(err, ErrChanged) {
					t.Errorf("error is %v", err)
				}
				if got := files(t, d); len(got) != 0 {
					t.Errorf("the store has %q", got)
				}
			}
		})
	}
}

// TestAnotherWriterIsFirst lets the object appear just before it is named.
func TestAnotherWriterIsFirst(t *testing.T) {
	for way, put := range puts {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, named %v", way, named), func(t *testing.T) {
				d := openStore(t, Options{})
				d.noUnnamed.Store(named)
				other, err := Open(d.Path(), Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				data := pattern(smallMax + 1)
				d.beforeStep = func(step string) error {
					if step == "link" || step == "rename" {
						_, err := other.PutBytes(t.Context(), data)
						return err
					}
					return nil
				}
				got, err := put(t, d, data)
				if err != nil || !got.Existing {
					t.Errorf("%+v, %v; want an existing object", got, err)
				}
				checkObject(t, d, got.Digest, data)
				if got := files(t, d); len(got) != 1 {
					t.Errorf("the store has %q", got)
				}
			})
		}
	}
}

// TestDirectoryOfObjectsVanishes is what a collector of garbage does to an empty one.
func TestDirectoryOfObjectsVanishes(t *testing.T) {
	for _, named := range []bool{false, true} {
		d := openStore(t, Options{})
		d.noUnnamed.Store(named)
		got, err := d.PutBytes(t.Context(), []byte("data"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(d.Path(), got.Digest.ObjectPath()[:2])); err != nil {
			t.Fatal(err)
		}
		if got, err := d.PutBytes(t.Context(), []byte("data")); err != nil || got.Existing {
			t.Errorf("%+v, %v; want a new object", got, err)
		}
		checkObject(t, d, got.Digest, []byte("data"))
	}
}

func TestErrorsNameTheStep(t *testing.T) {
	d := openStore(t, Options{})
	d.beforeStep = func(string) error { return errors.New("fault") }
	_, err := d.PutBytes(t.Context(), []byte("data"))
	if err == nil || !strings.Contains(err.Error(), "create object") {
		t.Errorf("error is %v", err)
	}
	if err := d.Sync(); err == nil {
		t.Error("Sync hides its error")
	}
}

// TestBusyFile is what enabling fs-verity meets when another process has just been started.
func TestBusyFile(t *testing.T) {
	busy := func(times int) func() error {
		return func() error {
			if times--; times >= 0 {
				return os.NewSyscallError("FS_IOC_ENABLE_VERITY", unix.ETXTBSY)
			}
			return nil
		}
	}
	if err := whileBusy(t.Context(), busy(3)); err != nil {
		t.Errorf("busy for a moment: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := whileBusy(ctx, busy(1000)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("busy for ever: %v", err)
	}
}
