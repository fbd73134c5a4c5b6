package mount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestHeader(t *testing.T) {
	build := func(magic, version, flags, format uint32) []byte {
		b := make([]byte, 32)
		for i, v := range []uint32{magic, version, flags, format} {
			binary.LittleEndian.PutUint32(b[4*i:], v)
		}
		return b
	}
	tests := []struct {
		name    string
		image   []byte
		want    header
		message string // of the error
	}{
		{"plain", build(0xd078629a, 1, 0, 0), header{}, ""},
		{"with ACLs", build(0xd078629a, 1, 1, 1), header{acl: true, format: 1}, ""},
		{"unknown flags", build(0xd078629a, 1, 6, 2), header{format: 2}, ""},
		{"empty", nil, header{}, "only 0 bytes long"},
		{"short", build(0xd078629a, 1, 0, 0)[:31], header{}, "only 31 bytes long"},
		{"plain EROFS", build(0, 0, 0, 0), header{}, "starts with 0x00000000"},
		{"big endian", build(0x9a6278d0, 1, 0, 0), header{}, "starts with 0x9a6278d0"},
		{"later version", build(0xd078629a, 2, 0, 0), header{}, "header version 2, want 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readHeader(bytes.NewReader(test.image), "x.cfs")
			if test.message == "" {
				if err != nil || got != test.want {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, ErrNotComposefs) || !strings.Contains(err.Error(), test.message) ||
				!strings.Contains(err.Error(), "x.cfs") {
				t.Errorf("error %v, want %q", err, test.message)
			}
		})
	}
}

func TestHeaderThatCannotBeReadIsNotCalledForeign(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := readHeader(dir, "x"); err == nil || errors.Is(err, ErrNotComposefs) {
		t.Errorf("error %v", err)
	}
}

func TestContradictingOptionsAreRefused(t *testing.T) {
	f := os.Stdin
	tests := []struct {
		name string
		opts Options
	}{
		{"no image", Options{}},
		{"upper alone", Options{Image: f, Upper: f}},
		{"work alone", Options{Image: f, Work: f}},
		{"volatile without upper", Options{Image: f, Volatile: true}},
		{"nil object directory", Options{Image: f, Objects: []*os.File{nil}}},
		{"unknown verity", Options{Image: f, Verity: 3}},
	}
	for _, test := range tests {
		if _, err := Create(t.Context(), test.opts); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: Create: %v", test.name, err)
		}
		if _, err := At(t.Context(), test.opts, "/nowhere"); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: At: %v", test.name, err)
		}
	}
}

func TestVerityIsReadAndWritten(t *testing.T) {
	for _, v := range []Verity{VerityOff, VerityTry, VerityRequire} {
		text, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Verity
		if err := got.UnmarshalText(text); err != nil || got != v {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	var v Verity
	if err := v.UnmarshalText([]byte("on")); err == nil {
		t.Error("took \"on\"")
	}
}
