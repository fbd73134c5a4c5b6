package objects

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestObjectsAreComparedIfSomethingIsOdd puts an object again after something has happened to it.
func TestObjectsAreComparedIfSomethingIsOdd(t *testing.T) {
	const small, large = 5000, smallMax + 5000
	keepTime := func(change func(path string) error) func(path string) error {
		return func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(change(path), os.Chtimes(path, time.Time{}, info.ModTime()))
		}
	}
	overwrite := func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("!"), 1000)
		return errors.Join(err, f.Close())
	}
	hole := func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return errors.Join(os.Truncate(path, 0), os.Truncate(path, info.Size()))
	}
	touch := func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)) }
	for _, tc := range []struct {
		name     string
		opts     Options
		happens  func(path string) error
		compared bool
		replaced bool
	}{
		{"nothing", Options{}, nil, false, false},
		{"nothing", Options{CompareExisting: true}, nil, true, false},
		{"touched", Options{}, touch, true, false},
		{"overwritten", Options{}, overwrite, true, true},
		{"overwritten in secret", Options{}, keepTime(overwrite), false, false},
		{"overwritten in secret", Options{CompareExisting: true}, keepTime(overwrite), true, true},
		{"data lost, size kept", Options{}, keepTime(hole), true, true},
	} {
		for _, size := range []int{small, large} {
			d := openStore(t, tc.opts)
			data := random(size)
			first, err := d.Put(t.Context(), tempFile(t, data), int64(size))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(d.Path(), first.Digest.ObjectPath())
			if tc.happens != nil {
				if err := tc.happens(path); err != nil {
					t.Fatal(err)
				}
			}
			compared := false
			d.beforeStep = func(step string) error {
				compared = compared || step == "compare"
				return nil
			}
			again, err := d.Put(t.Context(), tempFile(t, data), int64(size))
			if err != nil {
				t.Fatal(err)
			}
			if compared != tc.compared || again.Existing == tc.replaced {
				t.Errorf("%s, %+v, %d bytes: compared %v, replaced %v", tc.name, tc.opts, size, compared, !again.Existing)
			}
			if tc.replaced {
				checkObject(t, d, first.Digest, data)
			}
		}
	}
}

func TestObjectsHaveTheTimeOfStoring(t *testing.T) {
	d := openStore(t, Options{})
	before := time.Now().Truncate(time.Second)
	got, err := d.PutBytes(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := d.Stat(got.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if m := info.ModTime(); m.Before(before) || m.After(time.Now().Add(time.Second)) {
		t.Errorf("modified at %v, stored after %v", m, before)
	}
}
