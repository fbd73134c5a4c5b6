package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
)

// metaName is the file that makes a directory a repository.
const metaName = "meta.json"

// metaVersion is the only version of it.
const metaVersion = 1

// maxMeta bounds it in bytes.
const maxMeta = 1 << 20

// Features of repositories.
const (
	// FeatureV1 marks repositories whose images are V1 unless said otherwise. Programs that do
	// not know it would write V2, and may only read.
	FeatureV1 = "v1_erofs"
	// FeatureStores marks repositories whose objects may be in other stores, see
	// [Repository.SetStores]. Programs that do not know it would miss objects.
	FeatureStores = "object_stores"
)

// Meta is what a repository says of itself: the file meta.json of composefs-rs 0.9.
type Meta struct {
	Version   int                `json:"version"`
	Algorithm fsverity.Algorithm `json:"algorithm"`
	Features  Features           `json:"features"`
	Formats   *Formats           `json:"erofs_formats,omitempty"`

	others fields // of other versions
}

// Features are names of what a program must know: all of Incompatible to use the repository, of
// ReadOnlyCompatible to write to it.
type Features struct {
	Compatible         []string `json:"compatible"`
	ReadOnlyCompatible []string `json:"read-only-compatible"`
	Incompatible       []string `json:"incompatible"`

	others fields
}

// Formats are the image formats that a repository's images are made in.
type Formats struct {
	Default int   `json:"default"`
	Extra   []int `json:"extra,omitempty"`

	others fields
}

// known are the features that this package honours.
var known = Features{
	ReadOnlyCompatible: []string{FeatureV1},
	Incompatible:       []string{FeatureStores},
}

// newMeta describes a new repository.
func newMeta(alg fsverity.Algorithm, format erofs.Format) (Meta, error) {
	m := Meta{Version: metaVersion, Algorithm: alg}
	switch format {
	case erofs.FormatV0:
		m.Formats = &Formats{Default: 0}
	case erofs.FormatV1:
		m.Formats = &Formats{Default: 1}
		m.Features.ReadOnlyCompatible = []string{FeatureV1}
	case erofs.FormatV2:
		m.Formats = &Formats{Default: 2}
	default:
		return Meta{}, fmt.Errorf("image format %v: %w", format, errors.ErrUnsupported)
	}
	return m, m.check()
}

// parseMeta reads meta.json.
func parseMeta(data []byte) (Meta, error) {
	m, err := decodeMeta(data)
	if errors.Is(err, ErrIncompatible) {
		return Meta{}, fmt.Errorf("%s: %w", metaName, err)
	}
	if err != nil {
		return Meta{}, fmt.Errorf("%s: %w: %w", metaName, ErrCorrupt, err)
	}
	return m, m.check()
}

func decodeMeta(data []byte) (Meta, error) {
	var m Meta
	var err error
	if m.others, err = parseFields(data); err != nil {
		return Meta{}, err
	}
	// The version first: fields of a later one may have other meanings.
	if _, err := m.others.take("version", &m.Version); err != nil {
		return Meta{}, err
	}
	if m.Version > metaVersion {
		return Meta{}, fmt.Errorf("%w: version %d, %d is known", ErrIncompatible, m.Version, metaVersion)
	}
	var algorithm string
	if _, err := m.others.take("algorithm", &algorithm); err != nil {
		return Meta{}, err
	}
	m.Algorithm, err = fsverity.ParseAlgorithm(algorithm)
	if err != nil || m.Algorithm.String() != algorithm { // no short name
		return Meta{}, fmt.Errorf("%w: algorithm %q", ErrIncompatible, algorithm)
	}
	if _, err := m.others.take("features", &m.Features); err != nil {
		return Meta{}, err
	}
	_, err = m.others.take("erofs_formats", &m.Formats)
	return m, err
}

// check refuses what this package cannot use at all.
func (m *Meta) check() error {
	switch {
	case m.Version < 1:
		return fmt.Errorf("%s: %w: version %d", metaName, ErrCorrupt, m.Version)
	case m.Algorithm != fsverity.SHA256 && m.Algorithm != fsverity.SHA512:
		return fmt.Errorf("%s: %w: algorithm %v", metaName, ErrIncompatible, m.Algorithm)
	}
	if unknown := unknownIn(m.Features.Incompatible, known.Incompatible); len(unknown) > 0 {
		return fmt.Errorf("%s: %w: features %q", metaName, ErrIncompatible, unknown)
	}
	if m.Formats == nil {
		return nil
	}
	for _, n := range append([]int{m.Formats.Default}, m.Formats.Extra...) {
		if n < 0 || n > 2 {
			return fmt.Errorf("%s: %w: image format %d", metaName, ErrIncompatible, n)
		}
	}
	return nil
}

// readOnly returns the features that forbid this package to write.
func (m *Meta) readOnly() []string {
	return unknownIn(m.Features.ReadOnlyCompatible, known.ReadOnlyCompatible)
}

func unknownIn(features, known []string) []string {
	return slices.DeleteFunc(slices.Clone(features), func(f string) bool { return slices.Contains(known, f) })
}

// Format returns the format of the repository's images. Files without the field are of programs
// that wrote V2; the feature flag overrules them, as in composefs-rs.
func (m Meta) Format() erofs.Format {
	n := 2
	if m.Formats != nil {
		n = m.Formats.Default
	}
	if n == 2 && slices.Contains(m.Features.ReadOnlyCompatible, FeatureV1) {
		n = 1
	}
	return formatOf(n)
}

// ImageFormats returns all formats that images of trees are made in, that of Format first.
func (m Meta) ImageFormats() []erofs.Format {
	list := []erofs.Format{m.Format()}
	if m.Formats != nil {
		for _, n := range m.Formats.Extra {
			if f := formatOf(n); !slices.Contains(list, f) {
				list = append(list, f)
			}
		}
	}
	return list
}

func formatOf(n int) erofs.Format {
	switch n {
	case 0:
		return erofs.FormatV0
	case 1:
		return erofs.FormatV1
	}
	return erofs.FormatV2
}

// encode returns the file's bytes: the fields in composefs-rs's order, indented by two spaces, then
// those unknown here, and a newline.
func (m *Meta) encode() ([]byte, error) {
	data, err := json.Marshal(m)
	if err == nil {
		data, err = m.others.add(data)
	}
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, data, "", "  ")
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", metaName, err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// equal says whether two files mean the same.
func (m *Meta) equal(o *Meta) bool {
	a, errA := m.encode()
	b, errB := o.encode()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
