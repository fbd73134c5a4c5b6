package containersstorage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Limits of what a storage may hold.
const (
	maxList  = 256 << 20 // bytes of images.json or layers.json: some 400,000 records
	maxDepth = 500       // layers of one image; the overlay driver allows no more
)

// store is one graph root.
type store struct {
	root   *os.Root
	path   string
	driver string
}

// openStores opens the graph root and the additional stores. Of the latter some may be missing.
func openStores(l location) (stores []*store, err error) {
	defer func() {
		if err != nil {
			closeStores(stores)
		}
	}()
	for i, path := range l.roots {
		s, err := openStore(path, l.driver)
		if i > 0 && errors.Is(err, ErrNoStorage) {
			continue
		}
		if err != nil {
			return stores, err
		}
		stores = append(stores, s)
	}
	return stores, nil
}

func closeStores(stores []*store) {
	for _, s := range stores {
		_ = s.root.Close() // opened for reading
	}
}

func openStore(path, driver string) (*store, error) {
	root, err := os.OpenRoot(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w: %w", ErrNoStorage, err)
	case err != nil:
		return nil, fmt.Errorf("open containers' storage: %w", hint(err))
	}
	s := &store{root: root, path: path, driver: driver}
	if err := s.findDriver(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

// findDriver checks the driver, or finds the one that has images in the store.
func (s *store) findDriver() error {
	switch s.driver {
	case "overlay2":
		s.driver = "overlay"
	case "overlay", "vfs":
	case "":
		for _, driver := range []string{"overlay", "vfs", "btrfs", "zfs", "aufs", "devicemapper"} {
			if _, err := s.root.Stat(driver + "-images"); err == nil {
				s.driver = driver
				return s.findDriver()
			}
		}
		return fmt.Errorf("%w: %s has no directory of images", ErrNoStorage, s.path)
	default:
		return fmt.Errorf("%w: %s has the driver %s; overlay and vfs can be read", ErrUnsupported, s.path, s.driver)
	}
	return nil
}

// imageRecord is one image in images.json.
type imageRecord struct {
	ID             string            `json:"id"`
	Digest         string            `json:"digest"`
	Names          []string          `json:"names"`
	Layer          string            `json:"layer"`
	BigDataDigests map[string]string `json:"big-data-digests"`

	store *store
}

// layerRecord is one layer in layers.json.
type layerRecord struct {
	ID               string `json:"id"`
	Parent           string `json:"parent"`
	CompressedDigest string `json:"compressed-diff-digest"`
	CompressedSize   int64  `json:"compressed-size"`
	Digest           string `json:"diff-digest"`
	Size             int64  `json:"diff-size"`

	store *store
}

// images reads the records of all images.
func (s *store) images(ctx context.Context) ([]imageRecord, error) {
	var list []imageRecord
	if err := s.list(ctx, "images", &list); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].store = s
		if !isID(list[i].ID) {
			return nil, corruptf("images.json: %q is no ID", list[i].ID)
		}
	}
	return list, nil
}

// layers adds the records of all layers to a map, except those whose ID it has already.
func (s *store) layers(ctx context.Context, byID map[string]layerRecord) error {
	var list []layerRecord
	if err := s.list(ctx, "layers", &list); err != nil {
		return err
	}
	for _, r := range list {
		if !isID(r.ID) {
			return corruptf("layers.json: %q is no ID", r.ID)
		}
		if _, has := byID[r.ID]; !has {
			r.store = s
			byID[r.ID] = r
		}
	}
	return nil
}

// list reads one of the lists under its lock.
func (s *store) list(ctx context.Context, kind string, list any) error {
	lock, err := s.lock(ctx, kind)
	if err != nil {
		return err
	}
	defer lock.Close()
	name := s.driver + "-" + kind + "/" + kind + ".json"
	text, err := s.read(name, maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // as long as nothing has been stored
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, list); err != nil {
		return corruptf("%s: %v", name, err)
	}
	return nil
}

// lock locks a list, or its items' files, against changes until the result is closed.
func (s *store) lock(ctx context.Context, kind string) (io.Closer, error) {
	name := s.driver + "-" + kind + "/" + kind + ".lock"
	f, err := s.open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nothing{}, nil // a store that nobody writes to
	}
	if err != nil {
		return nil, err
	}
	if err := lockShared(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s in %s: %w", name, s.path, err), f.Close())
	}
	return f, nil
}

type nothing struct{}

func (nothing) Close() error { return nil }

// bigData reads a document of an image.
func (s *store) bigData(image, key string, limit int64) ([]byte, error) {
	return s.read(s.driver+"-images/"+image+"/"+fileName(key), limit)
}

// fileName returns the name of the file that holds big data.
func fileName(key string) string {
	for _, c := range []byte(key) {
		if c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "=" + base64.StdEncoding.EncodeToString([]byte(key))
		}
	}
	return key
}

// diffDir is where the files of a layer are.
func (s *store) diffDir(layer string) string {
	if s.driver == "vfs" {
		return "vfs/dir/" + layer
	}
	return s.driver + "/" + layer + "/diff"
}

// composefsImage is where the names of a layer's files are, if the driver keeps it as composefs does.
func (s *store) composefsImage(layer string) string {
	return s.driver + "/" + layer + "/composefs-data/composefs.blob"
}

func (s *store) tarSplit(layer string) string {
	return s.driver + "-layers/" + layer + ".tar-split.gz"
}

// open opens a regular file of the store for reading.
func (s *store) open(name string) (*os.File, error) {
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for its writer
	if err != nil {
		return nil, fmt.Errorf("open in %s: %w", s.path, hint(err))
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = corruptf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// read returns the content of a file of the store.
func (s *store) read(name string, limit int64) ([]byte, error) {
	f, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readUpTo(f, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s in %s: %w", name, s.path, err)
	}
	return text, nil
}

var errTooLarge = errors.New("it is too large")

// readUpTo reads all of r, and fails if that is more than limit bytes.
func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	return text, err
}

// isID says whether s can name an image or a layer: 64 hexadecimal digits.
func isID(s string) bool {
	return len(s) == 64 && isHex(s)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
