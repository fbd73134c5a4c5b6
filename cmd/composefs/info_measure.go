package main

import (
	"context"
	"fmt"

	"github.com/go-composefs/composefs/fsverity"
)

// measureFiles prints the SHA-256 fs-verity digest of each file: the kernel's word if it has
// that, else computed from the content.
func (i *infoCommand) measureFiles() error {
	for _, file := range i.files {
		d, err := measureFile(file)
		if err != nil {
			return err
		}
		if _, err := i.w.WriteString(d.String() + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func measureFile(path string) (fsverity.Digest, error) {
	f, err := openFile(path)
	if err != nil {
		return fsverity.Digest{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fsverity.Digest{}, measureError(path, err)
	}
	d, _, err := fsverity.DigestFile(context.Background(), f, info.Size(), fsverity.FileOptions{})
	if err != nil {
		return fsverity.Digest{}, measureError(path, err)
	}
	return d, nil
}

func measureError(path string, err error) error {
	return fmt.Errorf("failed to measure '%s': %s", path, strerror(err))
}
