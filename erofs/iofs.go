package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// FSOptions say what an [FS] reads beside the image.
type FSOptions struct {
	// Objects is the store's object directory, such as os.DirFS(path): where the content
	// of external files is. Without it they cannot be opened.
	Objects fs.FS
	// Verify compares each object with its fs-verity digest when it is opened, and refuses
	// external files without a digest. What changes an object later is not noticed, but
	// [FS.ReadFile] verifies the very bytes it returns.
	Verify bool
	// Algorithm is what the digests were made with; the zero value means the digest's own
	// hash over blocks of 4 KiB.
	Algorithm fsverity.Algorithm
}

// ErrObject reports an object that cannot be or is not what the image says.
var ErrObject = errors.New("object does not match the image")

// FS shows an image as a file system. In composefs images it shows the tree that the image was
// made of, as [Image.Tree] does: without the stubs and overlayfs's own attributes.
//
// It implements [fs.FS], [fs.StatFS], [fs.ReadDirFS], [fs.ReadFileFS] and [fs.ReadLinkFS].
// Unlike [fs.ValidPath] demands, names need not be UTF-8.
//
// Open and Stat follow symlinks, absolute ones from the image's root; no link leads out of it.
// [fs.FileInfo.Sys] returns the inode as a [*tree.Inode] without content and children, which
// has owner, attributes and digest.
//
// It is safe for concurrent use. Files from Open are not, except for ReadAt.
type FS struct {
	img  *Image
	opts FSOptions
}

// FS returns a view of the image.
func (img *Image) FS(opts FSOptions) *FS { return &FS{img, opts} }

// maxReadFile bounds what [FS.ReadFile] returns: a few bytes of an image can make a file of
// zeros of any size.
const maxReadFile = 1 << 30

var errIsDir = errors.New("is a directory")

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open implements [fs.FS]. Files of regular inodes implement [io.ReaderAt] and [io.Seeker],
// external ones if the object does; directories implement [fs.ReadDirFile]. Special files
// are empty.
func (f *FS) Open(name string) (fs.File, error) {
	file, _, err := f.open(name, f.opts.Verify)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return file, nil
}

// open returns the inode too, as the tree has it.
func (f *FS) open(name string, verify bool) (fs.File, *tree.Inode, error) {
	p, err := f.walk(name, true)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.info(p, name)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case p.in.IsDir():
		return &dirFile{info: info, f: f, in: &p.in}, info.node, nil
	case p.in.IsRegular() && f.img.head.present && p.in.isExternal():
		file, err := f.openObject(info, verify)
		return file, info.node, err
	}
	return &dataFile{SectionReader: p.in.Data(), info: info}, info.node, nil
}

// info describes a place by the last name of the path that was asked for, wherever links led.
func (f *FS) info(p *place, path string) (*fileInfo, error) {
	node, err := p.node()
	if err != nil {
		return nil, err
	}
	return &fileInfo{path[strings.LastIndexByte(path, '/')+1:], node}, nil
}

// Stat implements [fs.StatFS].
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat implements [fs.ReadLinkFS]: it does not follow a symlink at the end of the path.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f *FS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	p, err := f.walk(name, follow)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	info, err := f.info(p, name)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return info, nil
}

// ReadLink implements [fs.ReadLinkFS].
func (f *FS) ReadLink(name string) (string, error) {
	p, err := f.walk(name, false)
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	if p.in.Type() != tree.TypeSymlink {
		return "", pathError("readlink", name, fs.ErrInvalid)
	}
	target, err := p.in.Readlink()
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	return target, nil
}

// Inode returns the inode of a path as the image has it, following a symlink at its end or not.
func (f *FS) Inode(name string, follow bool) (*Inode, error) {
	p, err := f.walk(name, follow)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return &p.in, nil
}

// ReadDir implements [fs.ReadDirFS].
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	p, err := f.walk(name, true)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	entries, err := f.list(&p.in)
	if err != nil {
		return entries, pathError("readdir", name, err)
	}
	return entries, nil
}

// ReadFile implements [fs.ReadFileFS]. With FSOptions.Verify the bytes returned are those that
// were verified.
func (f *FS) ReadFile(name string) ([]byte, error) {
	content, err := f.readFile(name)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	return content, nil
}

func (f *FS) readFile(name string) ([]byte, error) {
	file, node, err := f.open(name, false)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if node.IsDir() {
		return nil, errIsDir
	}
	if node.IsRegular() && node.Size > maxReadFile {
		return nil, fmt.Errorf("the file has %d bytes, too many to read at once", node.Size)
	}
	// The size is a claim, so that the buffer grows as it is filled.
	var content bytes.Buffer
	n, err := io.Copy(&content, file)
	if err != nil {
		return nil, err
	}
	if node.IsRegular() && uint64(n) != node.Size {
		return nil, fmt.Errorf("%w: %d bytes were read of %d", ErrObject, n, node.Size)
	}
	if f.opts.Verify && !node.Digest.IsZero() {
		return content.Bytes(), f.verify(node.Digest, bytes.NewReader(content.Bytes()))
	}
	return content.Bytes(), nil
}
