package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// fault is [ErrSyntax] at the place of a key.
func (f *source) fault(at toml.Key, err error) error {
	where := ""
	if line := f.line(at); line > 0 {
		where = fmt.Sprintf("line %d: ", line)
	}
	return fmt.Errorf("%w: %s%s: %w", ErrSyntax, where, at, err)
}

// line returns the line of a key, or of the first one below it, 0 if it is not known.
func (f *source) line(at toml.Key) int {
	if line := f.lineOf(at); line > 0 {
		return line
	}
	for _, k := range f.keys {
		if len(k) > len(at) && slices.Equal(k[:len(at)], at) {
			return f.lineOf(k)
		}
	}
	return 0
}

// lineOf returns the line of a key. The decoder tells that of a value that refuses to be decoded, and of
// no other.
func (f *source) lineOf(at toml.Key) int {
	var table map[string]toml.Primitive
	md, err := toml.Decode(f.data, &table)
	for i := 0; err == nil && i < len(at); i++ {
		value := table[at[i]]
		if i == len(at)-1 {
			err = md.PrimitiveDecode(value, &refusal{})
			break
		}
		table = nil
		err = md.PrimitiveDecode(value, &table)
	}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return parse.Position.Line
	}
	return 0
}

// refusal cannot be decoded from anything.
type refusal struct{}

// UnmarshalTOML implements [toml.Unmarshaler].
func (*refusal) UnmarshalTOML(any) error { return errors.New("refused") }

// plain returns the decoder's message without what it begins with.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "toml: ") }
