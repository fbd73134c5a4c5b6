package splitstream

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-composefs/composefs/fsverity"
)

// NamedRef is a stream ref and what this splitstream calls it.
type NamedRef struct {
	Name   string
	Digest fsverity.Digest
}

// A refTable is a section of raw digests. The digests it hands out share its memory.
type refTable struct {
	raw    string
	digest int // bytes
}

func (t refTable) len() int { return len(t.raw) / t.digest }

func (t refTable) at(i int) fsverity.Digest {
	d, err := fsverity.DigestFromString(t.raw[i*t.digest:][:t.digest])
	if err != nil {
		panic("splitstream: " + err.Error()) // the hash was checked
	}
	return d
}

func (t refTable) all() iter.Seq[fsverity.Digest] {
	return func(yield func(fsverity.Digest) bool) {
		for i := range t.len() {
			if !yield(t.at(i)) {
				return
			}
		}
	}
}

// parseNamed reads decompressed named refs, in any order, and returns them sorted by name.
func parseNamed(text string, section span, streams refTable) ([]NamedRef, error) {
	bad := func(rest, format string, args ...any) error {
		at := int64(len(text) - len(rest))
		return &CorruptError{"named_refs", section.start, at, fmt.Sprintf(format, args...)}
	}
	count := strings.Count(text, "\x00")
	if count > maxNames {
		return nil, unsupportedf(section.start, "%d named refs, the limit is %d", count, maxNames)
	}
	refs := make([]NamedRef, 0, count)
	for rest := text; rest != ""; {
		record, after, ok := strings.Cut(rest, "\x00")
		if !ok {
			return nil, bad(rest, "no NUL ends the last record")
		}
		index, name, ok := strings.Cut(record, ":")
		if !ok {
			return nil, bad(rest, "a record without colon")
		}
		n, err := strconv.ParseUint(index, 10, 64)
		if err != nil {
			return nil, bad(rest, "an index that is no number")
		}
		if n >= uint64(streams.len()) {
			return nil, bad(rest, "index %d of %d stream refs", n, streams.len())
		}
		if !utf8.ValidString(name) {
			return nil, bad(rest, "a name that is not UTF-8")
		}
		refs = append(refs, NamedRef{name, streams.at(int(n))})
		rest = after
	}
	slices.SortFunc(refs, compareNames)
	for i := range refs[min(1, len(refs)):] {
		if refs[i].Name == refs[i+1].Name {
			return nil, bad(text, "the name %.200q twice", refs[i].Name)
		}
	}
	return refs, nil
}

func compareNames(a, b NamedRef) int { return strings.Compare(a.Name, b.Name) }

// A refBuilder is a refTable in the making: each digest once, in the order of first use.
type refBuilder struct {
	raw   bytes.Buffer
	index map[fsverity.Digest]int
}

// add returns the index of d, and whether it is new.
func (t *refBuilder) add(d fsverity.Digest) (index int, added bool) {
	if i, ok := t.index[d]; ok {
		return i, false
	}
	if t.index == nil {
		t.index = map[fsverity.Digest]int{}
	}
	i := len(t.index)
	t.index[d] = i
	t.raw.Write(d.Append(t.raw.AvailableBuffer()))
	return i, true
}
