package compress

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Errors that callers branch on.
var (
	// ErrUnknown reports a recipe for a compressor that is not here. The blob has to be compressed anew.
	ErrUnknown = errors.New("unknown compressor")
	// ErrRecipe reports a recipe that its compressor cannot follow.
	ErrRecipe = errors.New("invalid recipe")
	// ErrLevel reports a compression level that does not exist.
	ErrLevel = errors.New("no such compression level")
)

// maxRecipe is how long a recipe may be in its JSON form. The fields of a gzip header are all that takes space.
const maxRecipe = 16 << 10

// A Recipe says how a blob was compressed. Its JSON form is for keeping; it is of a few dozen bytes.
type Recipe struct {
	// Compressor is one of those in the package's documentation.
	Compressor string `json:"compressor"`
	// Level is in the compressor's own terms.
	Level int `json:"level,omitempty"`
	// Block is how many bytes pgzip compresses at a time.
	Block int `json:"block,omitempty"`
	// Window is that of a zstd frame in bytes, 0 for what belongs to the level.
	Window int `json:"window,omitempty"`
	// ContentSize is that of a zstd frame whose header tells it, in bytes.
	ContentSize int64 `json:"contentSize,omitempty"`
	// NoChecksum says that a zstd frame does not end in one.
	NoChecksum bool `json:"noChecksum,omitempty"`
	// Header is that of a gzip member.
	Header *GzipHeader `json:"header,omitempty"`
}

// A GzipHeader holds the fields of a gzip header (RFC 1952, section 2.3) that do not follow from the level.
type GzipHeader struct {
	Name    string `json:"name,omitempty"`    // ISO 8859-1 in the file
	Comment string `json:"comment,omitempty"` // ISO 8859-1 in the file
	Extra   []byte `json:"extra,omitempty"`
	ModTime uint32 `json:"mtime,omitempty"` // seconds since 1970, as it stands there
	OS      byte   `json:"os,omitempty"`
}

// ParseRecipe reads the JSON form of a recipe. It fails with [ErrUnknown] if its compressor is not here, and
// with [ErrRecipe] if it is none.
func ParseRecipe(data []byte) (Recipe, error) {
	if len(data) > maxRecipe {
		return Recipe{}, fmt.Errorf("%w: of %d bytes", ErrRecipe, len(data))
	}
	var r Recipe
	if err := json.Unmarshal(data, &r); err != nil {
		return Recipe{}, fmt.Errorf("%w: %w", ErrRecipe, err)
	}
	if _, err := r.find(); err != nil {
		return Recipe{}, err
	}
	return r, nil
}

// NewWriter returns a writer that compresses by the recipe what is written to it, to w, on all cores where
// the compressor can. Close ends the blob, and not w; it has to be called after an error as well. It fails
// with [ErrUnknown] and [ErrRecipe].
func (r Recipe) NewWriter(w io.Writer) (io.WriteCloser, error) {
	c, err := r.find()
	if err != nil {
		return nil, err
	}
	return c.open(r, w)
}

// find returns the recipe's compressor if the recipe is one that it can follow.
func (r Recipe) find() (compressor, error) {
	c, ok := compressors[r.Compressor]
	if !ok {
		return c, fmt.Errorf("%w: %q", ErrUnknown, r.Compressor)
	}
	if err := c.check(r); err != nil {
		return c, fmt.Errorf("%w: %s: %w", ErrRecipe, r.Compressor, err)
	}
	return c, nil
}
