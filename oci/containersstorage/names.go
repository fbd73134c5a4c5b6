package containersstorage

import (
	"fmt"
	"strings"
)

// reference is a name as a user gives it, taken apart.
type reference struct {
	text   string
	name   string // repository, with a registry or without
	tag    string // empty if there is a digest
	digest string // with its algorithm
}

// parseName takes apart NAME[:TAG][@DIGEST].
func parseName(text string) reference {
	r := reference{text: text}
	rest, digest, _ := strings.Cut(text, "@")
	r.digest = digest
	r.name = rest
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		r.name, r.tag = rest[:i], rest[i+1:]
	}
	if r.tag == "" && r.digest == "" {
		r.tag = "latest"
	}
	return r
}

// qualified says whether the name begins with a registry.
func qualified(name string) bool {
	first, _, ok := strings.Cut(name, "/")
	return ok && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// candidates are the full names that a name stands for, the first that is there counts.
func (r reference) candidates() []string {
	switch {
	case qualified(r.name):
		return []string{r.name}
	case strings.Contains(r.name, "/"):
		return []string{"localhost/" + r.name, "docker.io/" + r.name}
	}
	return []string{"localhost/" + r.name, "docker.io/library/" + r.name}
}

// has says whether an image has a full name.
func (r reference) has(image *imageRecord, full string) bool {
	if r.digest != "" && !image.hasDigest(r.digest) {
		return false
	}
	for _, n := range image.Names {
		have := parseName(n)
		// An image that was pulled by digest has no tag; what is asked for is the repository then.
		if have.name == full && (r.tag == "" || have.tag == r.tag) {
			return true
		}
	}
	return false
}

// ends says whether an image has a name that ends as r does, after a slash.
func (r reference) ends(image *imageRecord) bool {
	for _, n := range image.Names {
		if have := parseName(n).name; strings.HasSuffix(have, "/"+r.name) && r.has(image, have) {
			return true
		}
	}
	return false
}

// hasDigest says whether a digest is of one of the image's manifests.
func (i *imageRecord) hasDigest(digest string) bool {
	if i.Digest == digest {
		return true
	}
	for key, d := range i.BigDataDigests {
		if d == digest && strings.HasPrefix(key, "manifest") {
			return true
		}
	}
	return false
}

// find returns the image that a name means, as podman does: an ID, a full name, a digest, the beginning of an ID,
// a short name in localhost or docker.io, or the end of any name. Stores come in order.
func find(images []imageRecord, text string) (*imageRecord, error) {
	id := strings.TrimPrefix(text, "@")
	if isID(strings.TrimPrefix(id, "sha256:")) {
		id = strings.TrimPrefix(id, "sha256:")
		for i := range images {
			if images[i].ID == id {
				return &images[i], nil
			}
		}
		for i := range images {
			if images[i].hasDigest("sha256:" + id) {
				return &images[i], nil
			}
		}
		return nil, fmt.Errorf("%w: %s", ErrNotFound, text)
	}
	r := parseName(text)
	for _, full := range r.candidates() {
		for i := range images {
			if r.has(&images[i], full) {
				return &images[i], nil
			}
		}
	}
	if found, err := only(images, text, func(i *imageRecord) bool { return !qualified(r.name) && r.ends(i) }); found != nil || err != nil {
		return found, err
	}
	if text != "" && isHex(text) {
		found, err := only(images, text, func(i *imageRecord) bool { return strings.HasPrefix(i.ID, text) })
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, text)
}

// digestIn returns the digest that a name asks for, or an empty string.
func digestIn(text string) string {
	if _, digest, ok := strings.Cut(text, "@"); ok {
		text = digest
	}
	if isID(strings.TrimPrefix(text, "sha256:")) {
		return "sha256:" + strings.TrimPrefix(text, "sha256:")
	}
	return ""
}

// only returns the image that meets a condition, nil if there is none. The same image in several stores is one.
func only(images []imageRecord, text string, meets func(*imageRecord) bool) (*imageRecord, error) {
	var found *imageRecord
	for i := range images {
		switch image := &images[i]; {
		case !meets(image), found != nil && found.ID == image.ID:
		case found != nil:
			return nil, fmt.Errorf("%w: %s: %.12s (%s) or %.12s (%s)", ErrAmbiguous, text,
				found.ID, strings.Join(found.Names, ", "), image.ID, strings.Join(image.Names, ", "))
		default:
			found = image
		}
	}
	return found, nil
}

// splitSpecifier takes [DRIVER@GRAPHROOT+RUNROOT:OPTIONS] from the beginning of a name, as skopeo has it; all
// but the graph root may be missing.
func splitSpecifier(text string) (driver, root, name string, err error) {
	spec, ok := strings.CutPrefix(text, "[")
	if !ok {
		return "", "", text, nil
	}
	spec, name, ok = strings.Cut(spec, "]")
	if !ok {
		return "", "", "", fmt.Errorf("%w: %q has no closing bracket", ErrNotFound, text)
	}
	if before, after, ok := strings.Cut(spec, "@"); ok {
		driver, spec = before, after
	}
	spec, _, _ = strings.Cut(spec, ":")
	root, _, _ = strings.Cut(spec, "+")
	if !strings.HasPrefix(root, "/") {
		return "", "", "", fmt.Errorf("%w: the graph root in %q is not absolute", ErrNotFound, text)
	}
	return driver, root, name, nil
}
