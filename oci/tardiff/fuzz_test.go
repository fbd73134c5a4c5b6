package tardiff_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/oci/tardiff"
)

// FuzzApply follows operations that nobody made on purpose.
func FuzzApply(f *testing.F) {
	f.Add(encode(open("etc/a"), copied(4), data("abc"), seek(2), add("abc"), open("empty"), copied(0)))
	f.Add(encode(operation{2, 1 << 63, ""}))
	f.Add([]byte{1, 3, 'e', 't', 'c', 0, 0x80, 0x80})
	f.Add(encode(open("etc/a"), patch(f, "hello world", "hello, big world"), seek(0), copied(5)))
	old := files(map[string]string{"etc/a": "hello world", "empty": "", "long": strings.Repeat("0123456789", 10_000)})
	f.Fuzz(func(t *testing.T, plain []byte) {
		var out bytes.Buffer
		err := tardiff.Apply(t.Context(), bytes.NewReader(pack(t, plain)), old, &out, tardiff.ApplyOptions{MaxOutput: 1 << 20, MaxOps: 10_000})
		if out.Len() > 1<<20 {
			t.Errorf("%d bytes", out.Len())
		}
		var op *tardiff.OpError
		if err != nil && (!errors.As(err, &op) || op.Output != int64(out.Len()) || op.Offset > int64(len(plain))) {
			t.Errorf("%d bytes were made of %d: %v", out.Len(), len(plain), err)
		}
		again := pack(t, plain)
		again[5] = '2'
		if got, err := apply(t, again, old); err == nil && len(got) > 1<<20 {
			t.Errorf("%d bytes of version 2", len(got))
		}
		// What comes in another frame, or is no zstd, must not hurt either.
		_, _ = apply(t, append([]byte(magic), plain...), old)
	})
}

// FuzzRoundTrip holds deltas to making what they were made of: of a tar with one file, and of bytes that are no tar.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello world, hello world"), []byte("hello there world, hello world"), uint16(0))
	f.Add(bytes.Repeat([]byte("0123456789abcdefg"), 1000), bytes.Repeat([]byte("9abcdefg012345678"), 900), uint16(777))
	f.Add([]byte{}, make([]byte, 100), uint16(5000))
	f.Fuzz(func(t *testing.T, old, fresh []byte, repeat uint16) {
		// Long files have more than one window, and runs that are worth a copy.
		more := bytes.Repeat(fresh, 1+int(repeat)/(len(fresh)+1))
		image := files(map[string]string{"dir/f-1": string(old), "dir/g": string(fresh), "other": string(more) + string(old)})
		opts := tardiff.CreateOptions{Window: 4 << 10, Jobs: 2, Level: 1}
		create(t, image, makeTar(t, file("dir/f-2", string(more)), file("g", string(fresh)), file("other", string(more))), opts)
		create(t, image, fresh, opts)
	})
}
