//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// sameFile fails unless two files hold the same bytes, of which there must be some.
func sameFile(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := 0; ; {
		na, errA := io.ReadFull(fa, bufA)
		nb, errB := io.ReadFull(fb, bufB)
		if !bytes.Equal(bufA[:na], bufB[:nb]) {
			return fmt.Errorf("%s and %s differ after byte %d", a, b, at)
		}
		at += na
		endA, endB := atEnd(errA), atEnd(errB)
		switch {
		case endA && endB && at == 0:
			return fmt.Errorf("%s is empty", a)
		case endA && endB:
			return nil
		case errA != nil && !endA:
			return errA
		case errB != nil && !endB:
			return errB
		}
	}
}

func atEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// usage returns the sorted relative names of the regular files below dir and their total size.
func usage(dir string) (names []string, size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		names = append(names, name)
		size += info.Size()
		return nil
	})
	slices.Sort(names)
	return names, size, err
}

// sameStore fails unless two stores hold objects of the same names and total size. The names are
// digests, and that the programs agree on them is told by the images.
func sameStore(a, b string) error {
	namesA, sizeA, err := usage(a)
	if err != nil {
		return err
	}
	namesB, sizeB, err := usage(b)
	if err != nil {
		return err
	}
	if len(namesA) == 0 || !slices.Equal(namesA, namesB) || sizeA != sizeB {
		return fmt.Errorf("the stores %s and %s differ: %d objects of %d bytes and %d of %d",
			a, b, len(namesA), sizeA, len(namesB), sizeB)
	}
	return nil
}

// syncFilesystem writes out everything that waits on the filesystem of dir.
func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
