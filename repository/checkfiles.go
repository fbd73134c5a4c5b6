package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/objects"
)

// checkFiles looks at what is neither object nor link, and for what does not belong where it is.
func (c *checker) checkFiles() error {
	for _, check := range []func() error{c.checkMeta, c.checkTop, c.checkObjectDirs, c.checkLeases, c.checkCache, c.checkState, c.checkQuarantine} {
		if err := check(); err != nil {
			return err
		}
	}
	for _, s := range c.r.stores {
		if s.dir == nil {
			c.found(Problem{Kind: ProblemStore, Path: storesName, Detail: fmt.Sprintf("the store %s is not there", s.path)})
		}
	}
	return nil
}

// checkMeta looks whether meta.json, which could be read, says something that is not understood.
func (c *checker) checkMeta() error {
	if c.r.legacy {
		return nil
	}
	m := &c.r.meta
	if c.opts.RequireVerity && !c.r.verity {
		c.found(Problem{Kind: ProblemVerity, Path: metaName, Detail: "it has no fs-verity, so that objects need not have it"})
	}
	for _, unknown := range []fields{m.others, m.Features.others} {
		for name := range unknown {
			c.found(Problem{Kind: ProblemMeta, Path: metaName, Detail: fmt.Sprintf("it has a field %q, which is not known", name), Note: true})
		}
	}
	for _, name := range m.readOnly() {
		c.found(Problem{Kind: ProblemMeta, Path: metaName, Detail: fmt.Sprintf("it has a feature %q, which is not known: the repository can only be read", name), Note: true})
	}
	if f := m.Formats; f != nil && f.Default != 2 && slices.Contains(m.Features.ReadOnlyCompatible, FeatureV1) != (f.Default == 1) {
		c.found(Problem{Kind: ProblemMeta, Path: metaName, Detail: fmt.Sprintf("the feature %s and the image format %d contradict each other", FeatureV1, f.Default)})
	}
	data, err := fs.ReadFile(c.r.root.FS(), metaName)
	if err != nil {
		return err
	}
	// Programs write all of these, also if they are empty.
	for _, name := range []string{"compatible", "read-only-compatible", "incompatible"} {
		if !bytes.Contains(data, []byte(`"`+name+`"`)) {
			c.found(Problem{Kind: ProblemMeta, Path: metaName, Detail: fmt.Sprintf("it has no field %q", name)})
		}
	}
	return nil
}

// topNames are what a repository has at the top.
var topNames = map[string]struct{}{
	metaName: {}, objectsDir: {}, "images": {}, "streams": {}, leasesDir: {}, quarantineDir: {},
	storesName: {}, cacheName: {}, stateName: {},
}

func (c *checker) checkTop() error {
	entries, err := fs.ReadDir(c.r.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, known := topNames[e.Name()]
		if !known && !isTemporary(e.Name()) {
			c.found(Problem{Kind: ProblemForeign, Path: e.Name(), Detail: "it is no part of a repository", Note: true})
		}
	}
	return nil
}

// isTemporary says whether a file is one that is being written, or was by a process that is no more.
func isTemporary(name string) bool {
	return strings.HasPrefix(name, ".") // no program makes others of such names
}

// checkObjectDirs looks for what is beside the directories of objects.
func (c *checker) checkObjectDirs() error {
	dirs, err := fs.ReadDir(c.r.root.FS(), objectsDir)
	for _, dir := range dirs {
		isDir := dir.IsDir() && len(dir.Name()) == 2 && strings.Trim(dir.Name(), "0123456789abcdef") == ""
		if !isDir && !isTemporary(dir.Name()) {
			c.found(Problem{Kind: ProblemForeign, Path: objectsDir + "/" + dir.Name(), Detail: "it is no directory of objects"})
		}
	}
	return err
}

// foreign notes what is among the objects and is none.
func (c *checker) foreign(found objects.Name) {
	path := found.Path
	switch {
	case path == "" && found.Digest.Hash() == c.r.meta.Algorithm.Hash:
		c.foundObject(ProblemObject, found.Digest, "it is not a regular file")
		return
	case path == "":
		path = found.Digest.ObjectPath()
	case isTemporary(path[len("xx/"):]):
		return
	}
	c.found(Problem{Kind: ProblemForeign, Path: objectsDir + "/" + path, Detail: "its name is no digest of this repository"})
}

func (c *checker) checkLeases() error {
	for id, err := range c.r.leaseIDs() {
		if errors.Is(err, fs.ErrPermission) {
			return nil // the repository is another user's
		}
		if err != nil {
			return err
		}
		_, err := c.r.leaseInfo(id)
		switch {
		case err == nil, gone(err):
		case errors.Is(err, ErrCorrupt), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			c.found(Problem{Kind: ProblemLease, Path: leasesDir + "/" + id, Detail: oneLine(err)})
		case errors.Is(err, fs.ErrPermission):
			// The repository is another user's.
		default:
			return err
		}
	}
	return nil
}

func (c *checker) checkCache() error {
	data, err := fs.ReadFile(c.r.root.FS(), cacheName)
	if gone(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	cache := FileCache{size: c.r.meta.Algorithm.Hash.Size()}
	if cache.records(data) == nil {
		c.found(Problem{Kind: ProblemCache, Path: cacheName, Detail: "it is damaged, so that imports do without it"})
	}
	return nil
}

func (c *checker) checkQuarantine() error {
	entries, err := fs.ReadDir(c.r.root.FS(), quarantineDir)
	if gone(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	for _, e := range entries {
		c.found(Problem{
			Kind: ProblemQuarantine, Path: quarantineDir + "/" + e.Name(), Note: true,
			Detail: "it was taken out of use by a repair, and nothing needs it here",
		})
	}
	return err
}
