package containersstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Options say which storage is read. The zero value means the one that podman would use for the same user.
type Options struct {
	// Root is the graph root; then no storage.conf is read. Driver and Additional go with it.
	Root       string
	Driver     string   // overlay or vfs; empty means the one that is there
	Additional []string // additional image stores, by their graph roots

	// Config is the storage.conf to read. If it is empty, and so is $CONTAINERS_STORAGE_CONF, it is the first
	// of ~/.config/containers/storage.conf (not for root), /etc/containers/storage.conf and
	// /usr/share/containers/storage.conf.
	Config string
}

// Where the configuration of the system is, and what holds without one.
var (
	systemConfigs    = []string{"/etc/containers/storage.conf", "/usr/share/containers/storage.conf"}
	defaultGraphRoot = "/var/lib/containers/storage"
)

const maxConfig = 1 << 20 // bytes of a storage.conf

// storageConf is what of containers-storage.conf(5) says where images are.
type storageConf struct {
	Storage struct {
		Driver              string `toml:"driver"`
		GraphRoot           string `toml:"graphroot"`
		ImageStore          string `toml:"imagestore"`
		RootlessStoragePath string `toml:"rootless_storage_path"`
		Options             struct {
			AdditionalImageStores []string `toml:"additionalimagestores"`
		} `toml:"options"`
	} `toml:"storage"`
}

// location is where the stores are that together make a storage.
type location struct {
	driver string
	roots  []string // the graph root first
}

// locate finds the storage that the options mean.
func locate(opts Options) (location, error) {
	if opts.Root != "" {
		return location{opts.Driver, append([]string{opts.Root}, opts.Additional...)}, nil
	}
	u := currentUser()
	c, err := u.configuration(opts.Config)
	if err != nil {
		return location{}, err
	}
	s := &c.Storage
	l := location{driver: s.Driver, roots: []string{u.expand(s.GraphRoot)}}
	if driver := os.Getenv("STORAGE_DRIVER"); driver != "" {
		l.driver = driver
	}
	if opts.Driver != "" {
		l.driver = opts.Driver
	}
	if s.ImageStore != "" {
		l.roots = append(l.roots, u.expand(s.ImageStore))
	}
	stores := s.Options.AdditionalImageStores
	if list, ok := os.LookupEnv("STORAGE_OPTS"); ok {
		stores = storesOf(list) // it replaces all options of the file
	}
	for _, store := range append(stores, opts.Additional...) {
		l.roots = append(l.roots, u.expand(store))
	}
	return l, nil
}

// storesOf returns the additional image stores of a list as it is in $STORAGE_OPTS.
func storesOf(list string) []string {
	var stores []string
	for option := range strings.SplitSeq(list, ",") {
		key, value, _ := strings.Cut(option, "=")
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			key = key[i+1:] // the driver
		}
		if (key == "imagestore" || key == "additionalimagestore") && value != "" {
			stores = append(stores, value)
		}
	}
	return stores
}

// user is whose storage it is.
type user struct {
	uid      int
	rootless bool
}

// currentUser is who runs this process; under `podman unshare`, where that looks like root, who ran that.
func currentUser() user {
	if uid, err := strconv.Atoi(os.Getenv("_CONTAINERS_ROOTLESS_UID")); err == nil && uid > 0 {
		return user{uid, true}
	}
	uid := os.Getuid()
	return user{uid, uid != 0}
}

// configuration reads the storage.conf that counts, and adds what holds where it is silent.
func (u user) configuration(path string) (storageConf, error) {
	if path == "" {
		path = os.Getenv("CONTAINERS_STORAGE_CONF")
	}
	if path == "" && u.rootless {
		own := filepath.Join(u.dir("XDG_CONFIG_HOME", ".config"), "containers", "storage.conf")
		c, err := readConf(own)
		if err == nil {
			return c, u.complete(&c)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	if path != "" {
		c, err := readConf(path)
		if err == nil {
			err = u.complete(&c)
		}
		return c, err
	}
	var c storageConf
	for _, path := range systemConfigs {
		var err error
		if c, err = readConf(path); err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	if u.rootless { // of the system's only the place for users and the driver hold for them
		c.Storage.GraphRoot, c.Storage.ImageStore, c.Storage.Options.AdditionalImageStores = "", "", nil
	}
	return c, u.complete(&c)
}

// complete sets the graph root where a configuration leaves it open.
func (u user) complete(c *storageConf) error {
	s := &c.Storage
	switch {
	case s.GraphRoot != "":
	case u.rootless && s.RootlessStoragePath != "":
		s.GraphRoot = s.RootlessStoragePath
	case u.rootless:
		s.GraphRoot = filepath.Join(u.dir("XDG_DATA_HOME", ".local/share"), "containers", "storage")
	default:
		s.GraphRoot = defaultGraphRoot
	}
	if !filepath.IsAbs(u.expand(s.GraphRoot)) {
		return fmt.Errorf("%w: graphroot %q is not absolute", ErrConfig, s.GraphRoot)
	}
	return nil
}

func (user) dir(variable, below string) string {
	if dir := os.Getenv(variable); dir != "" {
		return dir
	}
	return filepath.Join(os.Getenv("HOME"), below)
}

// expand replaces $HOME, $UID and the like in a path.
func (u user) expand(path string) string {
	return filepath.Clean(os.Expand(path, func(name string) string {
		if name == "UID" {
			return strconv.Itoa(u.uid)
		}
		return os.Getenv(name)
	}))
}

func readConf(path string) (storageConf, error) {
	var c storageConf
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("read storage.conf: %w", err)
	}
	defer f.Close()
	text, err := readUpTo(f, maxConfig)
	if err != nil {
		return c, fmt.Errorf("read %s: %w", path, err)
	}
	if err := toml.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return c, nil
}
