package repository

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
)

// CreateOptions say what a new repository is. The zero value is one for SHA-256 and V1 images
// that requires fs-verity.
type CreateOptions struct {
	Algorithm fsverity.Algorithm // SHA256 (also the zero value) or SHA512
	// Format is that of images. FormatAuto, the zero value, means V1.
	Format erofs.Format
	// Insecure makes a repository whose objects need not have fs-verity: they get it where the
	// filesystem can, and are verified by reading them where it cannot.
	Insecure bool
}

// Create makes a repository at path, which is a directory that is missing, is empty or holds the
// same kind of repository already; created says that it did not. A repository of another kind there
// is [fs.ErrExist], one without meta.json is [ErrLegacy]. On a filesystem without fs-verity the
// error is [fsverity.ErrNoVerity] unless opts say Insecure, and nothing is left.
func Create(path string, opts CreateOptions) (created bool, err error) {
	alg, format := opts.Algorithm, opts.Format
	if alg == (fsverity.Algorithm{}) {
		alg = fsverity.SHA256
	}
	if format == erofs.FormatAuto {
		format = erofs.FormatV1
	}
	meta, err := newMeta(alg, format)
	if err != nil {
		return false, fmt.Errorf("create repository: %w", err)
	}
	made := missingDirs(path)
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		created, err = create(path, meta, !opts.Insecure)
	}
	if err != nil {
		for _, dir := range made {
			_ = os.Remove(dir) // succeeds if it is empty
		}
		return false, fmt.Errorf("create repository %s: %w", path, err)
	}
	return created, nil
}

// missingDirs returns of a path and its parents those that are not there, the deepest first.
func missingDirs(path string) []string {
	var missing []string
	for dir := filepath.Clean(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	return missing
}

func create(path string, meta Meta, verity bool) (bool, error) {
	r, err := Open(path, Options{})
	switch {
	case err == nil:
		defer r.Close()
		switch {
		case r.legacy:
			return false, ErrLegacy
		case r.verity != verity || !r.meta.equal(&meta):
			return false, fmt.Errorf("another kind of repository is there: %s, %s images, %s: %w",
				r.meta.Algorithm, r.meta.Format(), verityWords(r.verity), fs.ErrExist)
		}
		return false, nil
	case !errors.Is(err, ErrNotRepository):
		return false, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "lost+found", name == objectsDir && isEmptyDir(filepath.Join(path, objectsDir)):
		case strings.HasPrefix(name, tempMeta): // of a process that was killed
		default:
			return false, fmt.Errorf("there is a %s: %w", name, syscall.ENOTEMPTY)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if err := root.Mkdir(objectsDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if err := writeMeta(root, &meta, verity, false); err != nil {
		_ = root.Remove(objectsDir) // if it is empty
		return false, err
	}
	return true, nil
}

// verityWords says what a repository demands.
func verityWords(verity bool) string {
	if verity {
		return "fs-verity required"
	}
	return "fs-verity not required"
}

func isEmptyDir(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}

// Upgrade gives a repository that is older than meta.json one, which says what it is: also that its
// images are V2, as they are. It does nothing to others.
func Upgrade(path string) (upgraded bool, err error) {
	r, err := Open(path, Options{})
	if err != nil {
		return false, err
	}
	defer r.Close()
	if !r.legacy {
		return false, nil
	}
	if err := writeMeta(r.root, &r.meta, r.verity, false); err != nil {
		return false, fmt.Errorf("upgrade repository %s: %w", path, err)
	}
	return true, nil
}

// writeMeta makes meta.json, durably and complete at once, with fs-verity if that shall be required.
// An existing one is [fs.ErrExist] unless it is to be replaced.
func writeMeta(root *os.Root, meta *Meta, verity, replace bool) error {
	data, err := meta.encode()
	if err != nil {
		return err
	}
	temp := tempMeta + rand.Text()[:12]
	f, err := root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = root.Remove(temp) }() // unless it was renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if verity {
		if err := protectMeta(root, temp, data, meta.Algorithm); err != nil {
			return err
		}
	}
	if replace {
		err = root.Rename(temp, metaName)
	} else {
		err = root.Link(temp, metaName)
	}
	if err != nil {
		return err
	}
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// tempMeta is what names begin with of files that become meta.json.
const tempMeta = "." + metaName + "-"

// protectMeta enables fs-verity on the file that becomes meta.json.
func protectMeta(root *os.Root, name string, data []byte, alg fsverity.Algorithm) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// A process that is being started may hold the descriptor of the writer for a moment.
	opts := fsverity.Options{Algorithm: alg}
	for wait := time.Millisecond; ; wait *= 2 {
		err = fsverity.Enable(f, fsverity.EnableOptions{Options: opts})
		if !errors.Is(err, syscall.ETXTBSY) || wait > time.Second {
			break
		}
		time.Sleep(wait)
	}
	if err != nil {
		return err
	}
	want, err := fsverity.Sum(alg, data)
	if err != nil {
		return err
	}
	if got, err := fsverity.Measure(f); err != nil || got != want {
		return errors.Join(fmt.Errorf("%s: %w", metaName, fsverity.ErrDigestMismatch), err)
	}
	return nil
}
