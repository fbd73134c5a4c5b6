package repository

import (
	"encoding/json"
	"errors"
)

// fields are those of an object of JSON, by their exact names. What is left of them when all known
// ones are taken is of other versions, and is kept when the object is written again.
type fields map[string]json.RawMessage

func parseFields(data []byte) (fields, error) {
	var f fields
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, errors.New("null is no object")
	}
	return f, nil
}

// take decodes a field and removes it, and says whether it was there.
func (f fields) take(name string, to any) (bool, error) {
	data, ok := f[name]
	if !ok {
		return false, nil
	}
	delete(f, name)
	return true, json.Unmarshal(data, to)
}

// add adds the fields to an encoded object that has some.
func (f fields) add(object []byte) ([]byte, error) {
	if len(f) == 0 {
		return object, nil
	}
	data, err := json.Marshal(map[string]json.RawMessage(f))
	if err != nil {
		return nil, err
	}
	return append(append(object[:len(object)-1], ','), data[1:]...), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (f *Features) UnmarshalJSON(data []byte) error {
	others, err := parseFields(data)
	if err != nil {
		return err
	}
	*f = Features{others: others}
	for name, list := range f.lists() {
		if _, err := others.take(name, list); err != nil {
			return err
		}
	}
	return nil
}

func (f *Features) lists() map[string]*[]string {
	return map[string]*[]string{
		"compatible":           &f.Compatible,
		"read-only-compatible": &f.ReadOnlyCompatible,
		"incompatible":         &f.Incompatible,
	}
}

// MarshalJSON implements [json.Marshaler].
func (f Features) MarshalJSON() ([]byte, error) {
	for _, list := range f.lists() {
		if *list == nil {
			*list = []string{} // an empty array, not null
		}
	}
	type plain Features
	data, err := json.Marshal(plain(f))
	if err != nil {
		return nil, err
	}
	return f.others.add(data)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (f *Formats) UnmarshalJSON(data []byte) error {
	others, err := parseFields(data)
	if err != nil {
		return err
	}
	*f = Formats{others: others}
	ok, err := others.take("default", &f.Default)
	if err == nil && !ok {
		err = errors.New("erofs_formats has no default")
	}
	if err == nil {
		_, err = others.take("extra", &f.Extra)
	}
	return err
}

// MarshalJSON implements [json.Marshaler].
func (f Formats) MarshalJSON() ([]byte, error) {
	type plain Formats
	data, err := json.Marshal(plain(f))
	if err != nil {
		return nil, err
	}
	return f.others.add(data)
}
