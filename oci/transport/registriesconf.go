package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxConfigFile bounds a configuration file in bytes.
const maxConfigFile = 1 << 20

// Registries is the part of a registries.conf (version 2) that says where registries really are: other
// locations, mirrors, blocked and insecure ones. See containers-registries.conf(5).
type Registries struct {
	entries []registryEntry
}

// registryEntry is one [[registry]].
type registryEntry struct {
	Prefix             string        `toml:"prefix"`
	Location           string        `toml:"location"`
	Insecure           bool          `toml:"insecure"`
	Blocked            bool          `toml:"blocked"`
	MirrorByDigestOnly bool          `toml:"mirror-by-digest-only"`
	Mirrors            []mirrorEntry `toml:"mirror"`
}

type mirrorEntry struct {
	Location       string `toml:"location"`
	Insecure       bool   `toml:"insecure"`
	PullFromMirror string `toml:"pull-from-mirror"`
}

type registriesFile struct {
	Registries []registryEntry `toml:"registry"`
	// Version 1 had tables of lists of hosts.
	V1 map[string]any `toml:"registries"`
}

// SystemRegistries reads the configuration that podman and skopeo would use: the file that the variable
// CONTAINERS_REGISTRIES_CONF names, else ~/.config/containers/registries.conf, else that in /etc, and the
// files *.conf in the directories registries.conf.d of both, whose entries replace those of equal prefix.
// Files that are not there are as good as empty.
func SystemRegistries() (*Registries, error) {
	if path := os.Getenv("CONTAINERS_REGISTRIES_CONF"); path != "" {
		return LoadRegistries(path)
	}
	const system = "/etc/containers"
	dirs := []string{system}
	path := filepath.Join(system, "registries.conf")
	if config, err := os.UserConfigDir(); err == nil {
		user := filepath.Join(config, "containers")
		dirs = append(dirs, user)
		if _, err := os.Stat(filepath.Join(user, "registries.conf")); err == nil {
			path = filepath.Join(user, "registries.conf")
		}
	}
	paths := []string{path}
	for _, dir := range dirs {
		more, err := filepath.Glob(filepath.Join(dir, "registries.conf.d", "*.conf"))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		slices.Sort(more)
		paths = append(paths, more...)
	}
	paths = slices.DeleteFunc(paths, func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
	return LoadRegistries(paths...)
}

// LoadRegistries reads files one after the other; an entry replaces an earlier one with the same prefix.
func LoadRegistries(paths ...string) (*Registries, error) {
	r := &Registries{}
	for _, path := range paths {
		data, err := readFile(path, maxConfigFile)
		if err != nil {
			return nil, err
		}
		if err := r.add(data); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return r, nil
}

// ParseRegistries parses the content of one file.
func ParseRegistries(data []byte) (*Registries, error) {
	r := &Registries{}
	if err := r.add(data); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Registries) add(data []byte) error {
	var f registriesFile
	if err := toml.Unmarshal(data, &f); err != nil {
		return err
	}
	if len(f.V1) > 0 {
		return fmt.Errorf("version 1 of registries.conf: %w", ErrUnsupported)
	}
	for i, e := range f.Registries {
		if err := e.check(); err != nil {
			return fmt.Errorf("registry %d: %w", i+1, err)
		}
		r.entries = slices.DeleteFunc(r.entries, func(old registryEntry) bool { return old.Prefix == e.Prefix })
		r.entries = append(r.entries, e)
	}
	return nil
}

// check fills in defaults and refuses what has no meaning.
func (e *registryEntry) check() error {
	e.Prefix, e.Location = strings.TrimRight(e.Prefix, "/"), strings.TrimRight(e.Location, "/")
	if e.Prefix == "" {
		e.Prefix = e.Location
	}
	if e.Prefix == "" {
		return errors.New("it has neither prefix nor location")
	}
	wildcard := strings.HasPrefix(e.Prefix, "*.")
	if wildcard && strings.ContainsAny(e.Prefix[2:], "*/") {
		return fmt.Errorf("prefix %q: only a whole host may follow the asterisk", e.Prefix)
	}
	if e.Location == "" && !wildcard {
		e.Location = e.Prefix
	}
	places := []string{e.Location}
	for i, m := range e.Mirrors {
		switch m.PullFromMirror {
		case "", "all", "digest-only", "tag-only":
		default:
			return fmt.Errorf("mirror %q: pull-from-mirror is %q", m.Location, m.PullFromMirror)
		}
		if m.Location == "" {
			return fmt.Errorf("mirror %d has no location", i+1)
		}
		places = append(places, m.Location)
	}
	for _, place := range places {
		if strings.Contains(place, "://") {
			return fmt.Errorf("location %q: it must not have a scheme", place)
		}
	}
	return nil
}

// place is a repository in a registry, under which the content of a reference may be had.
type place struct {
	host     string
	repo     string
	insecure bool // TLS without verification, or plain HTTP if there is no TLS
	mirror   bool // of another one, which is asked if this one fails
}

// places returns where a repository may be read, in the order in which to ask. byDigest says whether it is
// read by digest, which some mirrors are for. Blocked ones give [ErrDenied].
func (r *Registries) places(host, repo string, byDigest bool) ([]place, error) {
	own := place{host: host, repo: repo}
	e := r.find(host, repo)
	if e == nil {
		return []place{own}, nil
	}
	name := host + "/" + repo
	if e.Blocked {
		return nil, fmt.Errorf("registry %s is blocked by registries.conf: %w", e.Prefix, ErrDenied)
	}
	var places []place
	for _, m := range e.Mirrors {
		only := m.PullFromMirror
		if only == "" && e.MirrorByDigestOnly {
			only = "digest-only"
		}
		if only == "digest-only" && !byDigest || only == "tag-only" && byDigest {
			continue
		}
		p, err := e.move(name, m.Location)
		if err != nil {
			return nil, err
		}
		p.insecure, p.mirror = m.Insecure, true
		places = append(places, p)
	}
	if e.Location != "" {
		p, err := e.move(name, e.Location)
		if err != nil {
			return nil, err
		}
		own = p
	}
	own.insecure = e.Insecure
	return append(places, own), nil
}

// find returns the entry with the longest prefix of a repository.
func (r *Registries) find(host, repo string) *registryEntry {
	if r == nil {
		return nil
	}
	var best *registryEntry
	for i := range r.entries {
		e := &r.entries[i]
		if e.matches(host, repo) && (best == nil || len(e.Prefix) > len(best.Prefix)) {
			best = e
		}
	}
	return best
}

func (e *registryEntry) matches(host, repo string) bool {
	if domain, ok := strings.CutPrefix(e.Prefix, "*"); ok {
		return strings.HasSuffix(host, domain)
	}
	rest, ok := strings.CutPrefix(host+"/"+repo, e.Prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// move replaces the entry's prefix of a name by a location.
func (e *registryEntry) move(name, location string) (place, error) {
	rest := strings.TrimPrefix(name, e.Prefix)
	if strings.HasPrefix(e.Prefix, "*") {
		_, repo, _ := strings.Cut(name, "/")
		rest = "/" + repo
	}
	moved := strings.TrimRight(location, "/") + rest
	parsed, err := parseImageName(moved)
	if err == nil && parsed.String() != moved {
		err = fmt.Errorf("it lacks the registry of %s", parsed)
	}
	if err != nil {
		return place{}, fmt.Errorf("location of %s in registries.conf: %q: %w", name, moved, err)
	}
	return place{host: parsed.host, repo: parsed.repo}, nil
}
