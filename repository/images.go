package repository

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// ImageInfo is an image of the repository.
type ImageInfo struct {
	Digest fsverity.Digest
	Refs   []string // its names, sorted; none for one that the next collection removes
	// Err says why the image is of no use: its entry is broken, or missing. Digest may be zero
	// then.
	Err error
}

// Images returns all images, those with names first, by their first name.
func (r *Repository) Images() ([]ImageInfo, error) {
	l := r.images()
	refs, err := l.refs()
	if err != nil {
		return nil, err
	}
	entries, err := l.entries()
	if err != nil {
		return nil, err
	}
	byName := map[string]int{}
	var list []ImageInfo
	for _, e := range entries {
		info := ImageInfo{Err: e.err}
		if e.err == nil {
			info.Digest, info.Err = fsverity.ParseDigest(e.name)
			if info.Err == nil && info.Digest != e.digest {
				info.Err = fmt.Errorf("%w: images/%s is a link to another object", ErrCorrupt, e.name)
			}
		}
		byName[e.name] = len(list)
		list = append(list, info)
	}
	for _, ref := range refs {
		if ref.err != nil {
			list = append(list, ImageInfo{Refs: []string{ref.name}, Err: ref.err})
			continue
		}
		i, ok := byName[ref.target]
		if !ok {
			i = len(list)
			byName[ref.target] = i
			info := ImageInfo{Err: fmt.Errorf("%w: images/%s is missing", ErrCorrupt, ref.target)}
			info.Digest, _ = fsverity.ParseDigest(ref.target)
			list = append(list, info)
		}
		list[i].Refs = append(list[i].Refs, ref.name)
	}
	slices.SortFunc(list, func(a, b ImageInfo) int {
		return cmp.Or(
			cmp.Compare(min(1, len(b.Refs)), min(1, len(a.Refs))),
			slices.Compare(a.Refs, b.Refs), a.Digest.Compare(b.Digest))
	})
	return list, nil
}

// ResolveImage returns the digest of an image: of a ref, with or without "refs/" before it, or of the
// digest itself in hex.
func (r *Repository) ResolveImage(name string) (fsverity.Digest, error) {
	l := r.images()
	if _, err := fsverity.ParseDigest(name); err == nil {
		name = strings.ToLower(name)
	} else if name, err = l.ref(strings.TrimPrefix(name, refsDir+"/")); err != nil {
		return fsverity.Digest{}, err
	}
	want, err := fsverity.ParseDigest(name)
	if err != nil {
		return fsverity.Digest{}, err
	}
	got, err := l.entry(name)
	if err == nil && got != want {
		err = fmt.Errorf("%w: images/%s is a link to another object", ErrCorrupt, name)
	}
	return want, err
}

// Image is an open image.
type Image struct {
	*erofs.Image
	Digest fsverity.Digest
	// File is the image's own, for the kernel to mount. It stays the Image's.
	File *os.File
}

// openAttempts is how often an image is opened that is another file each time: more often would say that the
// filesystem does not know its files.
const openAttempts = 5

// OpenImage opens an image by a name as [Repository.ResolveImage] knows it. While it is open it is not
// collected, nor is anything that it needs. Close it after use.
func (r *Repository) OpenImage(name string) (*Image, error) {
	digest, err := r.ResolveImage(name)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		img, err := r.openImage(digest)
		if err != nil {
			return nil, fmt.Errorf("open image %s: %w", name, err)
		}
		same, err := r.stays(img)
		if err == nil && (same || attempt == openAttempts) {
			return img, nil
		}
		if err = errors.Join(err, img.Close()); err != nil {
			return nil, fmt.Errorf("open image %s: %w", name, err)
		}
	}
}

// stays makes sure that a collector sees that the image is open, and says whether it does: it may have become
// another file meanwhile, see SignImage.
func (r *Repository) stays(img *Image) (bool, error) {
	// A collector that looked before it was open is done with it behind the gate.
	if err := r.passGate(img.Digest); err != nil {
		return false, err
	}
	if _, err := r.images().entry(img.Digest.String()); err != nil {
		return false, err
	}
	return r.isObject(img.File, img.Digest)
}

// isObject says whether a file is what somebody gets who opens the object now.
func (r *Repository) isObject(f *os.File, digest fsverity.Digest) (bool, error) {
	now, err := r.StatObject(digest)
	if err != nil {
		return false, err
	}
	was, err := f.Stat()
	return err == nil && os.SameFile(now, was), err
}

// passGate is leaseDir.passGate for who only reads. Without a lock file no collector was at work when the
// image was opened. Who may not open that file, because the repository is another user's, may find an image
// that is being removed, and then lacks its objects.
func (r *Repository) passGate(digest fsverity.Digest) error {
	lock, err := r.root.Open(lockName)
	if gone(err) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	d := leaseDir{r: r, lock: lock}
	if err := d.passGate(digest); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

func (r *Repository) openImage(digest fsverity.Digest) (*Image, error) {
	f, err := r.OpenObject(digest)
	if err != nil {
		return nil, err
	}
	img, err := erofs.OpenFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Image{img, digest, f}, nil
}

// Close closes the image.
func (i *Image) Close() error { return i.File.Close() }

// ObjectRef is an object that an image needs.
type ObjectRef struct {
	Digest fsverity.Digest
	Size   int64 // bytes, as the image has it
}

// imageObjects returns the objects that an image needs, each once, sorted.
func (r *Repository) imageObjects(digest fsverity.Digest) ([]ObjectRef, error) {
	img, err := r.openImage(digest)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	return img.Objects()
}

// Objects returns the objects that the image needs, each once, sorted by digest. An image that needs
// what cannot be an object is [ErrCorrupt].
func (i *Image) Objects() ([]ObjectRef, error) {
	var list []ObjectRef
	for ref, err := range i.objectRefs() {
		if err != nil {
			return nil, err
		}
		list = append(list, ref)
	}
	slices.SortFunc(list, func(a, b ObjectRef) int { return a.Digest.Compare(b.Digest) })
	return slices.CompactFunc(list, func(a, b ObjectRef) bool { return a.Digest == b.Digest }), nil
}

// objectRefs goes through the objects that the image needs, some more than once.
func (i *Image) objectRefs() iter.Seq2[ObjectRef, error] {
	return func(yield func(ObjectRef, error) bool) {
		root, err := i.Tree(erofs.TreeOptions{MetadataOnly: true})
		if err != nil {
			yield(ObjectRef{}, err)
			return
		}
		for path, e := range tree.Walk(root) {
			ref, ok, err := objectOf(e.Inode)
			if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
			if err != nil || ok && !e.Link {
				if !yield(ref, err) || err != nil {
					return
				}
			}
		}
	}
}

// objectOf returns the object that holds a file's content, if one does.
func objectOf(n *tree.Inode) (ObjectRef, bool, error) {
	if !n.IsExternal() || n.Size == 0 && n.Digest.IsZero() && n.Backing == "" {
		return ObjectRef{}, false, nil
	}
	path := strings.TrimLeft(n.BackingPath(), "/")
	digest, err := fsverity.ParseDigest(strings.Replace(path, "/", "", 1))
	if err != nil || digest.ObjectPath() != path {
		return ObjectRef{}, false, fmt.Errorf("%w: its content is in %q, which is no object", ErrCorrupt, path)
	}
	return ObjectRef{digest, int64(n.Size)}, true, nil
}
