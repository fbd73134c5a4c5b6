package erofs

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// objectName makes a name in the store of an inode's backing path.
func objectName(node *tree.Inode) (string, error) {
	backing := node.BackingPath()
	if backing == "" {
		return "", fmt.Errorf("%w: the file has no place in the store", ErrObject)
	}
	name, reason := storeName(backing)
	if reason != "" {
		return "", fmt.Errorf("%w: %s", ErrObject, reason)
	}
	return name, nil
}

// openObject opens the content of an external file.
func (f *FS) openObject(info *fileInfo, verify bool) (fs.File, error) {
	name, err := objectName(info.node)
	if err != nil {
		return nil, err
	}
	if f.opts.Verify && info.node.Digest.IsZero() {
		return nil, fmt.Errorf("%w: the image has no digest of %s", ErrObject, name)
	}
	if f.opts.Objects == nil {
		return nil, fmt.Errorf("%w: no store is given to find %s in", ErrObject, name)
	}
	object, err := f.opts.Objects.Open(name)
	if err != nil {
		return nil, err
	}
	file, err := f.checkObject(info, object, verify)
	if err != nil {
		object.Close()
		return nil, fmt.Errorf("object %s: %w", name, err)
	}
	return file, nil
}

// checkObject compares an open object with what the image says.
func (f *FS) checkObject(info *fileInfo, object fs.File, verify bool) (fs.File, error) {
	stat, err := object.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() || uint64(stat.Size()) != info.node.Size {
		return nil, fmt.Errorf("%w: it has mode %s and %d bytes, the file has %d", ErrObject, stat.Mode(), stat.Size(), info.node.Size)
	}
	at, random := object.(io.ReaderAt)
	if verify {
		if !random {
			return nil, fmt.Errorf("%w: it cannot be verified and then read again", ErrObject)
		}
		if err := f.verify(info.node.Digest, io.NewSectionReader(at, 0, stat.Size())); err != nil {
			return nil, err
		}
	}
	if !random {
		return &streamFile{object, info}, nil
	}
	return &dataFile{SectionReader: io.NewSectionReader(at, 0, stat.Size()), info: info, object: object}, nil
}

// verify reads content and compares its digest.
func (f *FS) verify(want fsverity.Digest, content io.Reader) error {
	got, err := contentDigest(f.opts.Algorithm, want, content)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: its digest is %s, the image says %s", ErrObject, got, want)
	}
	return nil
}
