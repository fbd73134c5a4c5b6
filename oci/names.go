package oci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/repository"
)

// Directories of refs, below streams/refs.
const (
	tagDir   = "oci/"
	indexDir = "oci-index/"
)

// Ids of streams are these words and a digest.
const (
	manifestPrefix = "oci-manifest-"
	configPrefix   = "oci-config-"
	layerPrefix    = "oci-layer-"
	indexPrefix    = "oci-index-"
)

// ErrName reports a name that no image can have, or a reference that makes no sense.
var ErrName = errors.New("bad name of an image")

func manifestID(d digest.Digest) string { return manifestPrefix + d.String() }
func configID(d digest.Digest) string   { return configPrefix + d.String() }
func layerID(d digest.Digest) string    { return layerPrefix + d.String() }
func indexID(d digest.Digest) string    { return indexPrefix + d.String() }

// Only these two are escaped, as composefs-rs does it: a tag is one component of a ref.
var (
	escaper   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescaper = strings.NewReplacer("%2F", "/", "%2f", "/", "%25", "%")
)

// digestIn returns the digest that the id of a stream has behind a prefix. A ref can lead to any stream.
func digestIn(id, prefix string) (digest.Digest, error) {
	d, ok := strings.CutPrefix(id, prefix)
	if !ok || manifest.CheckDigest(digest.Digest(d)) != nil {
		return "", fmt.Errorf("%w: the stream %s is no %s…", ErrCorrupt, id, prefix)
	}
	return digest.Digest(d), nil
}

// tagRef returns the ref of a tag.
func tagRef(tag string) string { return tagDir + escaper.Replace(tag) }

// indexRef returns the ref of the index that a tag was pulled from.
func indexRef(tag string) string { return indexDir + escaper.Replace(tag) }

// tagOf returns the tag of a ref, if it is one.
func tagOf(ref string) (string, bool) {
	rest, ok := strings.CutPrefix(ref, tagDir)
	if !ok || strings.Contains(rest, "/") {
		return "", false
	}
	return unescaper.Replace(rest), true
}

// CheckTag returns nil for what can be a tag: at most 255 bytes with "%" and "/" escaped, without control
// characters, and neither a digest nor beginning with "@", as references by a digest do.
func CheckTag(tag string) error {
	if tag == "" || strings.HasPrefix(tag, "@") || manifest.CheckDigest(digest.Digest(tag)) == nil {
		return fmt.Errorf("%w: %q", ErrName, tag)
	}
	if err := repository.CheckRef(tagRef(tag)); err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	return nil
}
