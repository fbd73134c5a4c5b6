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
		// What comes in another frame, or is no zstd, must not hurt either.
		_, _ = apply(t, append([]byte(magic), plain...), old)
	})
}
