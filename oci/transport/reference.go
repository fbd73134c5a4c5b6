package transport

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/manifest"
)

// Names of transports, as they begin a reference.
const (
	Docker            = "docker"
	OCI               = "oci"
	OCIArchive        = "oci-archive"
	DockerArchive     = "docker-archive"
	ContainersStorage = "containers-storage"
)

// maxReference bounds a reference in bytes: a path and a name of the most that each may have.
const maxReference = 4096 + 512

// noIndex is the index of references that have none.
const noIndex = -1

// Reference names an image and how it is reached. It is comparable; the zero Reference names nothing.
type Reference struct {
	transport string
	path      string // of files
	name      string // in files: the name of the image there; else the store's name for it
	registry  string
	repo      string
	tag       string
	digest    digest.Digest
	index     int // in a docker-archive: the image's place, counted from 0, or noIndex
}

// Parse parses a reference. Names of registries without a host are Docker's: "alpine" is
// docker.io/library/alpine:latest. Errors are [ErrReference].
func Parse(s string) (Reference, error) {
	if len(s) > maxReference {
		return Reference{}, fmt.Errorf("%w: %d bytes, %d are allowed", ErrReference, len(s), maxReference)
	}
	if i := strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		return Reference{}, fmt.Errorf("%w %q: it has a control character", ErrReference, s)
	}
	if rest, ok := strings.CutPrefix(s, "docker://"); ok {
		return parseDocker(s, rest)
	}
	transport, rest, ok := strings.Cut(s, ":")
	if !ok {
		return parseDocker(s, s)
	}
	switch transport {
	case OCI, OCIArchive:
		return parseLayout(s, transport, rest)
	case DockerArchive:
		return parseDockerArchive(s, rest)
	case ContainersStorage:
		if rest == "" {
			return Reference{}, fmt.Errorf("%w %q: it has no name", ErrReference, s)
		}
		return Reference{transport: ContainersStorage, name: rest, index: noIndex}, nil
	}
	return parseDocker(s, s)
}

func parseDocker(s, rest string) (Reference, error) {
	if manifest.CheckDigest(digest.Digest(rest)) == nil {
		// It could be the tag of a repository called sha256, which nobody has meant yet.
		return Reference{}, fmt.Errorf("%w %q: it is only a digest", ErrReference, s)
	}
	name, err := parseImageName(rest)
	if err != nil {
		return Reference{}, fmt.Errorf("%w %q: %w", ErrReference, s, err)
	}
	r := Reference{
		transport: Docker, registry: name.host, repo: name.repo, tag: name.tag, digest: name.digest, index: noIndex,
	}
	if r.tag == "" && r.digest == "" {
		r.tag = defaultTag
	}
	return r, nil
}

// parseLayout parses DIRECTORY[:NAME|@DIGEST]. As elsewhere the first colon ends the path, for
// names have colons more often than paths.
func parseLayout(s, transport, rest string) (Reference, error) {
	r := Reference{transport: transport, path: rest, index: noIndex}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 && manifest.CheckDigest(digest.Digest(rest[i+1:])) == nil {
		r.path, r.digest = rest[:i], digest.Digest(rest[i+1:])
	} else if path, name, ok := strings.Cut(rest, ":"); ok {
		r.path, r.name = path, name
		if name == "" || len(name) > 512 {
			return Reference{}, fmt.Errorf("%w %q: the image's name is empty or too long", ErrReference, s)
		}
	}
	if r.path == "" {
		return Reference{}, fmt.Errorf("%w %q: it has no path", ErrReference, s)
	}
	r.path = filepath.Clean(r.path)
	return r, nil
}

func parseDockerArchive(s, rest string) (Reference, error) {
	path, name, named := strings.Cut(rest, ":")
	if path == "" {
		return Reference{}, fmt.Errorf("%w %q: it has no path", ErrReference, s)
	}
	r := Reference{transport: DockerArchive, path: filepath.Clean(path), index: noIndex}
	if number, ok := strings.CutPrefix(name, "@"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return Reference{}, fmt.Errorf("%w %q: %q is no number of an image", ErrReference, s, number)
		}
		r.index = int(n)
		return r, nil
	}
	if !named {
		return r, nil
	}
	image, err := parseDocker(s, name)
	if err != nil {
		return Reference{}, err
	}
	if image.digest != "" {
		return Reference{}, fmt.Errorf("%w %q: images in such a file have no digests", ErrReference, s)
	}
	r.registry, r.repo, r.tag = image.registry, image.repo, image.tag
	return r, nil
}

// String returns the reference in its normal form, which Parse takes.
func (r Reference) String() string {
	switch r.transport {
	case "":
		return ""
	case Docker:
		return "docker://" + r.dockerName()
	case ContainersStorage:
		return r.transport + ":" + r.name
	}
	s := r.transport + ":" + r.path
	switch {
	case r.index != noIndex:
		return s + ":@" + strconv.Itoa(r.index)
	case r.repo != "":
		return s + ":" + r.dockerName()
	case r.name != "":
		return s + ":" + r.name
	case r.digest != "":
		return s + "@" + r.digest.String()
	}
	return s
}

func (r Reference) dockerName() string {
	return imageName{host: r.registry, repo: r.repo, tag: r.tag, digest: r.digest}.String()
}

// Familiar returns the shortest text that Parse takes for the reference, as Docker shows names: without
// docker.io/library, and without docker:// unless the name could be mistaken for another transport's.
func (r Reference) Familiar() string {
	if r.transport != Docker {
		return r.String()
	}
	short := strings.TrimPrefix(r.dockerName(), dockerHost+"/")
	if rest, ok := strings.CutPrefix(short, dockerLibrary); ok && !strings.Contains(rest, "/") {
		short = rest
	}
	if back, err := Parse(short); err != nil || back != r {
		return r.String()
	}
	return short
}

// Transport returns the transport's name, such as [Docker].
func (r Reference) Transport() string { return r.transport }

// Path returns the path of the directory or file; registries have none.
func (r Reference) Path() string { return r.path }

// Name returns the image's name inside an OCI layout or archive, or in the containers' storage.
func (r Reference) Name() string { return r.name }

// Registry returns the host of the registry, with its port if it has one. In a
// docker-archive it is that of the image's name.
func (r Reference) Registry() string { return r.registry }

// Repository returns the repository in the registry, such as library/alpine.
func (r Reference) Repository() string { return r.repo }

// Tag returns the tag of an image in a registry or docker-archive. It is empty if there is only a digest.
func (r Reference) Tag() string { return r.tag }

// Digest returns the digest that the reference has, or "". Where there are both, it goes before
// the tag, of which nobody is asked then.
func (r Reference) Digest() digest.Digest { return r.digest }

// Index returns the place in a docker-archive, counted from 0, that the reference names, or -1.
func (r Reference) Index() int {
	if r.transport != DockerArchive {
		return noIndex
	}
	return r.index
}

// WithDigest returns the reference by digest instead of tag: what a policy or a record keeps of what
// a tag was. Of a docker-archive it is the reference itself.
func (r Reference) WithDigest(d digest.Digest) Reference {
	if r.transport == Docker || r.transport == OCI || r.transport == OCIArchive {
		r.tag, r.name, r.digest = "", "", d
	}
	return r
}

// WithTag returns the reference with another tag and without a digest; in layouts the tag is the
// image's name. It fails for what cannot be a tag.
func (r Reference) WithTag(tag string) (Reference, error) {
	switch r.transport {
	case Docker:
		return parseDocker(tag, r.registry+"/"+r.repo+":"+tag)
	case OCI, OCIArchive:
		return parseLayout(tag, r.transport, r.path+":"+tag)
	}
	return Reference{}, fmt.Errorf("tag %q of %s: %w", tag, r, ErrUnsupported)
}

// Scopes returns the names by which a policy can mean the reference, the most particular first, in
// the manner of containers-policy.json(5). For a registry: HOST/REPOSITORY:TAG or @DIGEST,
// HOST/REPOSITORY, each part of that up to HOST, then *.DOMAIN for each domain above it. For files: the
// absolute path with and without the image's name, then each directory above it. The empty
// scope, which means everything of a transport, is the caller's to add.
func (r Reference) Scopes() []string {
	if r.transport != Docker {
		return r.fileScopes()
	}
	var scopes []string
	name := r.registry + "/" + r.repo
	if r.digest != "" {
		scopes = append(scopes, name+"@"+r.digest.String())
	}
	if r.tag != "" {
		scopes = append(scopes, name+":"+r.tag)
	}
	for {
		scopes = append(scopes, name)
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	for host := r.registry; ; {
		_, domain, ok := strings.Cut(host, ".")
		if !ok {
			return scopes
		}
		scopes = append(scopes, "*."+domain)
		host = domain
	}
}

func (r Reference) fileScopes() []string {
	if r.transport == ContainersStorage {
		return []string{r.name}
	}
	path := r.path
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	var scopes []string
	if r.name != "" {
		scopes = append(scopes, path+":"+r.name)
	}
	for ; path != "/" && path != "."; path = filepath.Dir(path) {
		scopes = append(scopes, path)
	}
	return scopes
}
