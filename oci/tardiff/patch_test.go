package tardiff_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/go-composefs/composefs/oci/tardiff"
)

// second makes a delta of version 2.
func second(t testing.TB, ops ...operation) []byte {
	t.Helper()
	d := delta(t, ops...)
	d[5] = '2'
	return d
}

// patch is the operation that makes fresh of old.
func patch(t testing.TB, old, fresh string) operation {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderDictRaw(0, []byte(old)), zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	return framed(string(z.EncodeAll([]byte(fresh), nil)))
}

func framed(frame string) operation { return operation{5, uint64(len(frame)), frame} }

func TestPatches(t *testing.T) {
	hello, long := "hello world", noise(1, 300_000)
	changed := long[:100_000] + "something else" + long[120_000:] + noise(2, 1000)
	old := files(map[string]string{"etc/a": hello, "long": long, "empty": ""})
	for _, test := range []struct {
		name string
		ops  []operation
		want string
		size int // of the delta, at most; 0: any
	}{
		{"no patch", []operation{open("etc/a"), copied(5), data("!")}, "hello!", 0},
		{"patch", []operation{open("etc/a"), patch(t, hello, "hello, big world"), data(".")}, "hello, big world.", 0},
		{"patch of much", []operation{data("<"), open("long"), patch(t, long, changed), data(">")}, "<" + changed + ">", 5000},
		{"the place does not matter, and is the end after it", []operation{
			open("etc/a"), seek(5), patch(t, hello, "hello"), copied(0), seek(10), copied(1), patch(t, hello, "world"),
		}, "hellodworld", 0},
		{"another source", []operation{open("etc/a"), patch(t, hello, hello), open("long"), patch(t, long, long), open("etc/a"), patch(t, hello, hello)}, hello + long + hello, 1000},
		{"of nothing", []operation{open("empty"), patch(t, "", "abc")}, "abc", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := second(t, test.ops...)
			got, err := apply(t, d, old)
			if err != nil || got != test.want {
				t.Errorf("%d bytes of %d, error %v", len(got), len(test.want), err)
			}
			if test.size > 0 && len(d) > test.size {
				t.Errorf("a delta of %d bytes", len(d))
			}
		})
	}
}

func TestHostilePatches(t *testing.T) {
	hello := "hello world"
	old := files(map[string]string{"etc/a": hello, "zeros": strings.Repeat("\x00", 2<<20)})
	good := patch(t, hello, strings.Repeat("hello, big world", 5000))
	zeros := patch(t, hello, strings.Repeat("\x00", 2<<20))
	for name, test := range map[string]struct {
		delta []byte
		want  error
	}{
		"in version 1":        {delta(t, open("etc/a"), good), tardiff.ErrFormat},
		"another operation":   {second(t, open("etc/a"), operation{6, 0, ""}), tardiff.ErrFormat},
		"no source":           {second(t, good), tardiff.ErrFormat},
		"no bytes":            {second(t, open("etc/a"), framed("")), tardiff.ErrFormat},
		"no frame":            {second(t, open("etc/a"), framed("no frame")), tardiff.ErrFormat},
		"frame cut short":     {second(t, open("etc/a"), framed(good.data[:len(good.data)-5])), tardiff.ErrFormat},
		"more than a frame":   {second(t, open("etc/a"), framed(good.data+"more")), tardiff.ErrFormat},
		"delta cut short":     {second(t, open("etc/a"), operation{5, 1 << 40, good.data}), tardiff.ErrFormat},
		"a size of -1":        {second(t, open("etc/a"), operation{5, 1<<64 - 1, good.data}), tardiff.ErrFormat},
		"a large tar":         {second(t, open("etc/a"), zeros), tardiff.ErrLimit},
		"a window of 1 GiB":   {second(t, open("etc/a"), framed("\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00")), tardiff.ErrLimit},
		"a large source":      {second(t, open("zeros"), good), tardiff.ErrLimit},
		"a file that is none": {second(t, open("etc"), good), tardiff.ErrSource},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := tardiff.Apply(t.Context(), bytes.NewReader(test.delta), old, &out, tardiff.ApplyOptions{MaxOutput: 1 << 20, MaxWindow: 1 << 20})
			if !errors.Is(err, test.want) || out.Len() > 1<<20 {
				t.Errorf("%d bytes, error %v", out.Len(), err)
			}
		})
	}
}

// The format's frames are those of zstd --patch-from.
func TestPatchOfZstd(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("no zstd")
	}
	long := noise(1, 300_000)
	fresh := long[:100_000] + "something else" + long[120_000:] + noise(2, 1000)
	dir := t.TempDir()
	for name, content := range map[string]string{"old": long, "fresh": fresh} {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "-q", "--patch-from="+dir+"/old", dir+"/fresh", "-o", dir+"/patch")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("zstd: %v\n%s", err, out)
	}
	frame, err := os.ReadFile(dir + "/patch")
	if err != nil {
		t.Fatal(err)
	}
	got, err := apply(t, second(t, open("long"), framed(string(frame))), files(map[string]string{"long": long}))
	if err != nil || got != fresh || len(frame) > 5000 {
		t.Errorf("%d bytes of %d, error %v", len(got), len(fresh), err)
	}
}
