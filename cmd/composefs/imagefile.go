package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// imageFile is an image that is open: a file, or one of a repository.
type imageFile struct {
	*erofs.Image
	name    string
	file    *os.File
	objects objectSource           // nil if nobody said where they are
	repo    *repository.Repository // nil for a file
	digest  fsverity.Digest        // in the repository
}

// openImage opens the image that a word of a command line means, with the objects that are known
// thereby. The caller closes it.
func (a *app) openImage(cmd *cobra.Command, name string) (*imageFile, error) {
	var storePaths []string
	if cmd.Flags().Lookup("store") != nil {
		var err error
		if storePaths, err = cmd.Flags().GetStringArray("store"); err != nil {
			return nil, err
		}
	}
	switch {
	case len(storePaths) > 0 && cmd.Flags().Changed("repo"):
		return nil, usagef("--store is for image files, and --repo for names of images: want one of them")
	case len(storePaths) == 0 && isNamed(cmd, name):
		return a.openNamedImage(cmd, name)
	}
	img, err := openImageFile(name)
	if err != nil || len(storePaths) == 0 {
		return img, err
	}
	s, err := openStores(storePaths)
	if err != nil {
		img.Close()
		return nil, err
	}
	img.objects = s
	return img, nil
}

// isNamed says whether a word is the name of an image in a repository, rather than the path of a
// file: if --repo is given, or no file is there; but never if it begins as only paths do.
func isNamed(cmd *cobra.Command, word string) bool {
	first, _, _ := strings.Cut(word, "/")
	if first == "" || first == "." || first == ".." {
		return false
	}
	if cmd.Flags().Changed("repo") {
		return true
	}
	_, err := os.Lstat(word)
	return errors.Is(err, fs.ErrNotExist)
}

// openNamedImage opens an image of a repository.
func (a *app) openNamedImage(cmd *cobra.Command, word string) (*imageFile, error) {
	img, err := a.openNamed(cmd, word)
	if err != nil && !cmd.Flags().Changed("repo") {
		// The word was not said to be a name.
		err = fmt.Errorf("open %s: %w, and %w", word, syscall.ENOENT, err)
	}
	return img, err
}

func (a *app) openNamed(cmd *cobra.Command, word string) (*imageFile, error) {
	r, err := a.openRepository(cmd, repository.Options{})
	if err != nil {
		return nil, err
	}
	name, err := imageName(cmd.Context(), r, word)
	if err != nil {
		r.Close()
		return nil, err
	}
	img, err := r.OpenImage(name)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &imageFile{
		Image: img.Image, name: word, file: img.File, objects: repositoryObjects{r}, repo: r, digest: img.Digest,
	}, nil
}

// openImageFile opens an image file. The caller closes it.
func openImageFile(name string) (*imageFile, error) {
	f, err := openNow(name)
	if err != nil {
		return nil, err
	}
	img, err := readImage(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &imageFile{Image: img, name: name, file: f}, nil
}

func readImage(f *os.File) (*erofs.Image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// An image can be on a block device as well.
	if mode := info.Mode(); !mode.IsRegular() && mode&fs.ModeType != fs.ModeDevice {
		return nil, fmt.Errorf("open image %s: not a regular file", f.Name())
	}
	return erofs.OpenFile(f)
}

func (i *imageFile) Close() error {
	if i.objects != nil {
		i.objects.close()
	}
	return i.file.Close()
}

// tree loads the image for a comparison with what it was made of, or for making that again.
func (i *imageFile) tree(ctx context.Context) (*tree.Inode, error) {
	root, err := orInterrupted(ctx, func() (*tree.Inode, error) { return i.Tree(erofs.TreeOptions{}) })
	if err != nil {
		return nil, i.failed(err)
	}
	if i.Format() == erofs.FormatV1 {
		dropWhiteoutMarks(root)
	}
	return root, nil
}

// dropWhiteoutMarks removes from directories that hold whiteouts the marks that images of
// format V1 give them. Dumps show the marks, as those of composefs-info do: a tree could have
// had them. They mean nothing beside whiteouts that are devices.
func dropWhiteoutMarks(root *tree.Inode) {
	isWhiteout := func(e tree.Entry) bool { return e.Inode.IsWhiteout() }
	for _, e := range tree.Walk(root) {
		if !slices.ContainsFunc(e.Inode.Children, isWhiteout) {
			continue
		}
		for _, name := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
			if value, ok := e.Inode.Xattr(name); ok && value == "x" {
				e.Inode.RemoveXattr(name)
			}
		}
	}
}

// failed adds the image's name to an error about what is in it.
func (i *imageFile) failed(err error) error {
	// The path inside is one for people: absolute, where io/fs has none.
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return fmt.Errorf("%s: %s: %w", i.name, pathInImage(pe.Path), pe.Err)
	}
	return fmt.Errorf("%s: %w", i.name, err)
}

// fsPath makes a name for io/fs of a path as people write it.
func fsPath(p string) string {
	if p = path.Clean("/" + p)[1:]; p != "" {
		return p
	}
	return "."
}

// pathInImage is the reverse of fsPath.
func pathInImage(name string) string {
	if name == "." {
		return "/"
	}
	return "/" + strings.TrimPrefix(name, "/")
}
