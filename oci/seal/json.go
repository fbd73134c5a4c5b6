package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// object is a JSON object whose members keep their order, and their values the way they are written:
// what is not understood here survives.
type object struct {
	members []member
}

type member struct {
	name  string
	value json.RawMessage
}

// The members that are read here.
var (
	manifestFields   = []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"}
	descriptorFields = []string{"mediaType", "digest", "size", "annotations"}
)

// checkDocument refuses what is too large or no JSON text at all.
func checkDocument(raw []byte) error {
	switch {
	case len(raw) > MaxManifest:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(raw), MaxManifest)
	case !utf8.Valid(raw):
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	case !json.Valid(raw):
		return fmt.Errorf("%w: not JSON", ErrMalformed)
	}
	return nil
}

// parseObject reads one object of a document that has been checked. Names that are one of the fields in
// another case are refused: Go's own decoder, which many readers use, takes them for it.
func parseObject(raw []byte, fields ...string) (*object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%w: not an object", ErrMalformed)
	}
	o := &object{}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if seen[name] {
			return nil, fmt.Errorf("%w: %q", ErrDuplicate, name)
		}
		seen[name] = true
		for _, f := range fields {
			if name != f && strings.EqualFold(name, f) {
				return nil, fmt.Errorf("%w: %q, which some would read as %q", ErrMalformed, name, f)
			}
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrMalformed, name, err)
		}
		o.members = append(o.members, member{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more after the object", ErrMalformed)
	}
	return o, nil
}

// get returns a member's value, nil if there is none or it is null.
func (o *object) get(name string) json.RawMessage {
	for _, m := range o.members {
		if m.name == name && string(m.value) != "null" {
			return m.value
		}
	}
	return nil
}

// set replaces a member's value where it is, or adds it at the end.
func (o *object) set(name string, value json.RawMessage) {
	for i := range o.members {
		if o.members[i].name == name {
			o.members[i].value = value
			return
		}
	}
	o.members = append(o.members, member{name, value})
}

func (o *object) remove(drop func(name string) bool) {
	o.members = slices.DeleteFunc(o.members, func(m member) bool { return drop(m.name) })
}

// decode reads a member into v; a missing one leaves it alone.
func (o *object) decode(name string, v any) error {
	raw := o.get(name)
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrMalformed, name, err)
	}
	return nil
}

// encode writes the object without blanks.
func (o *object) encode() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encodeString(m.name))
		b.WriteByte(':')
		// The value has been decoded before, so that this cannot fail.
		_ = json.Compact(&b, m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

func encodeString(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
