package tardiff

import (
	"io/fs"
	"iter"
)

// OldFiles is the old image as [Create] needs it.
type OldFiles interface {
	Source
	// Files returns the regular files that a delta may use, in any order, each path once. What the
	// receiver may not have, such as files that lie in the image and not in a mounted container, has to
	// be left out.
	Files() iter.Seq2[OldFile, error]
}

// OldFile is a regular file of the old image.
type OldFile struct {
	Path string // relative to the root of the image, clean
	Size int64  // bytes
}

func (s fileSystem) Files() iter.Seq2[OldFile, error] {
	return func(yield func(OldFile, error) bool) {
		err := fs.WalkDir(s.fs, ".", func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if !yield(OldFile{path, info.Size()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(OldFile{}, err)
		}
	}
}
