package repository

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// links are the symbolic links of one kind of thing: images or streams.
//
//	images/HEX       -> ../objects/3a/7f0c…
//	images/refs/a/b  -> ../../HEX
type links struct {
	r    *Repository
	dir  string // "images" or "streams"
	what string // in messages
	// checkEntry says whether an entry may have a name.
	checkEntry func(name string) error
}

func (r *Repository) images() links {
	return links{r, "images", "image", func(name string) error {
		digest, err := fsverity.ParseDigest(name)
		if err == nil && (digest.String() != name || digest.Hash() != r.meta.Algorithm.Hash) {
			err = fmt.Errorf("%w %q: not a %s digest", ErrName, name, r.meta.Algorithm.Hash)
		}
		return err
	}}
}

func (r *Repository) streams() links { return links{r, "streams", "stream", CheckStream} }

// A link is what a symbolic link says. If it says nothing that makes sense, err tells what.
type link struct {
	name   string
	digest fsverity.Digest // of an entry: its object
	target string          // of a ref: the entry's name
	err    error
}

// entry returns the object that an entry stands for.
func (l links) entry(name string) (fsverity.Digest, error) {
	if err := l.checkEntry(name); err != nil {
		return fsverity.Digest{}, err
	}
	digest, err := l.readEntry(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s %s: %w", l.what, name, ErrNotFound)
	}
	return digest, err
}

func (l links) readEntry(name string) (fsverity.Digest, error) {
	at := l.dir + "/" + name
	target, err := l.r.root.Readlink(at)
	if err != nil {
		return fsverity.Digest{}, notLink(at, err)
	}
	rest, ok := strings.CutPrefix(target, "../"+objectsDir+"/")
	digest, err := fsverity.ParseDigest(strings.Replace(rest, "/", "", 1))
	if !ok || err != nil || digest.ObjectPath() != rest || digest.Hash() != l.r.meta.Algorithm.Hash {
		return fsverity.Digest{}, fmt.Errorf("%w: %s is a link to %q, which is no object", ErrCorrupt, at, target)
	}
	return digest, nil
}

// ref returns the name of the entry that a ref stands for.
func (l links) ref(name string) (string, error) {
	if err := CheckRef(name); err != nil {
		return "", err
	}
	target, err := l.readRef(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s %s: %w", l.what, name, ErrNotFound)
	}
	return target, err
}

func (l links) readRef(name string) (string, error) {
	at := path.Join(l.dir, refsDir, name)
	target, err := l.r.root.Readlink(at)
	if err != nil {
		return "", notLink(at, err)
	}
	entry, ok := strings.CutPrefix(path.Join(path.Dir(at), target), l.dir+"/")
	if !ok || strings.HasPrefix(target, "/") || l.checkEntry(entry) != nil {
		return "", fmt.Errorf("%w: %s is a link to %q, which is no %s", ErrCorrupt, at, target, l.what)
	}
	return entry, nil
}

// notLink makes reading what is no link an error of the repository.
func notLink(at string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, at, err)
}

// entries returns all entries, by name.
func (l links) entries() ([]link, error) {
	var list []link
	names, err := l.readDir(l.dir)
	for _, e := range names {
		if e.Name() == refsDir {
			continue
		}
		entry := link{name: e.Name()}
		if entry.err = l.checkEntry(e.Name()); entry.err != nil {
			entry.err = fmt.Errorf("%w: %s/%s: %w", ErrCorrupt, l.dir, e.Name(), entry.err)
		} else {
			entry.digest, entry.err = l.readEntry(e.Name())
		}
		if !errors.Is(entry.err, fs.ErrNotExist) { // it is gone meanwhile
			list = append(list, entry)
		}
	}
	return list, err
}

// refs returns all refs, by name.
func (l links) refs() ([]link, error) {
	list, err := l.refsBelow("", nil)
	slices.SortFunc(list, func(a, b link) int { return cmp.Compare(a.name, b.name) })
	return list, err
}

func (l links) refsBelow(prefix string, list []link) ([]link, error) {
	if strings.Count(prefix, "/") > maxName/2 {
		return nil, fmt.Errorf("%w: %s/%s has too many levels", ErrCorrupt, l.dir, refsDir)
	}
	names, err := l.readDir(path.Join(l.dir, refsDir, prefix))
	if err != nil {
		return nil, err
	}
	for _, e := range names {
		name := prefix + e.Name()
		if e.IsDir() {
			if list, err = l.refsBelow(name+"/", list); err != nil {
				return nil, err
			}
			continue
		}
		ref := link{name: name}
		ref.target, ref.err = l.readRef(name)
		if !errors.Is(ref.err, fs.ErrNotExist) {
			list = append(list, ref)
		}
	}
	return list, nil
}

// readDir lists a directory, which need not be there.
func (l links) readDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(l.r.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", l.what, err)
	}
	return list, nil
}

// setEntry makes an entry. It does not sync it.
func (l links) setEntry(name string, digest fsverity.Digest) error {
	if err := l.checkEntry(name); err != nil {
		return err
	}
	return l.set(l.dir+"/"+name, "../"+objectsDir+"/"+digest.ObjectPath())
}

// setRef makes a ref, or lets it stand for another entry. It does not sync it.
func (l links) setRef(name, entry string) error {
	if err := CheckRef(name); err != nil {
		return err
	}
	up := strings.Repeat("../", 1+strings.Count(name, "/"))
	return l.set(path.Join(l.dir, refsDir, name), up+entry)
}

// set makes a symbolic link, in place of another one if need be: in one step, whoever looks.
func (l links) set(at, target string) error {
	if old, err := l.r.root.Readlink(at); err == nil && old == target {
		return nil
	}
	// A directory that is empty may be removed before the link is in it.
	err := fs.ErrNotExist
	for attempt := 0; errors.Is(err, fs.ErrNotExist) && attempt < 100; attempt++ {
		if err = l.makeDir(path.Dir(at)); err == nil {
			err = l.makeLink(at, target)
		}
	}
	return err
}

func (l links) makeDir(dir string) error {
	if err := l.r.step("mkdir " + dir); err != nil {
		return err
	}
	err := l.r.root.MkdirAll(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if info, err := l.r.root.Stat(dir); err != nil || info.IsDir() {
			return err // it came, and perhaps went, meanwhile
		}
	}
	return err
}

// makeLink makes a symbolic link in a directory that is there.
func (l links) makeLink(at, target string) error {
	if err := l.r.step("symlink " + at); err != nil {
		return err
	}
	err := l.r.root.Symlink(target, at)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	temp := tempLink + rand.Text()[:12]
	if err := l.r.root.Symlink(target, temp); err != nil {
		return err
	}
	err = l.r.step("rename " + at)
	if err == nil {
		err = l.r.root.Rename(temp, at)
	}
	if err != nil {
		_ = l.r.root.Remove(temp) // nothing more can be done
	}
	return err
}

// tempLink is what names of links begin with that are being made, here and in composefs-rs.
const tempLink = ".symlink-"

// removeRef removes a ref, and directories that it leaves empty. It does not sync that.
func (l links) removeRef(name string) error {
	if err := CheckRef(name); err != nil {
		return err
	}
	at := path.Join(l.dir, refsDir, name)
	if _, err := l.r.root.Readlink(at); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s %s: %w", l.what, name, ErrNotFound)
		}
		return err
	}
	if err := l.r.step("unlink " + at); err != nil {
		return err
	}
	if err := l.r.root.Remove(at); err != nil {
		return err
	}
	l.removeEmpty(path.Dir(name))
	return nil
}

// removeEmpty removes a directory of refs and those above it, up to one that is not empty.
func (l links) removeEmpty(dir string) {
	for ; dir != "."; dir = path.Dir(dir) {
		if err := l.r.root.Remove(path.Join(l.dir, refsDir, dir)); err != nil {
			return
		}
	}
}

// dirs returns the directories that hold the links, which must be synced for the refs of these
// names to last: the deepest ones first.
func (l links) dirs(refs []string) []string {
	set := map[string]struct{}{}
	for _, name := range refs {
		for dir := path.Dir(path.Join(l.dir, refsDir, name)); dir != "."; dir = path.Dir(dir) {
			set[dir] = struct{}{}
		}
	}
	list := make([]string, 0, len(set))
	for dir := range set {
		list = append(list, dir)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")), cmp.Compare(a, b))
	})
	return list
}
