package tardiff

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// rebuild makes the fresh bytes of the old ones and what differs.
func rebuild(t testing.TB, old, fresh []byte, regions []region) (data, differing int) {
	t.Helper()
	at := 0
	for _, r := range regions {
		if r.added < 0 || r.data < 0 || r.added > 0 && (r.old < 0 || r.old+r.added > len(old)) || at+r.added+r.data > len(fresh) {
			t.Fatalf("region %+v of %d bytes at %d of %d", r, len(old), at, len(fresh))
		}
		for i := range r.added {
			if old[r.old+i] != fresh[at+i] {
				differing++
			}
		}
		at += r.added + r.data
		data += r.data
	}
	if at != len(fresh) {
		t.Fatalf("%d of %d bytes are described", at, len(fresh))
	}
	return data, differing
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestWhatIsFoundAgain(t *testing.T) {
	old := random(1, 300_000)
	moved := bytes.Clone(old)
	for i := 1000; i < len(moved); i += 100 { // an address in each hundred bytes
		moved[i] += 3
	}
	for _, test := range []struct {
		name            string
		old, fresh      []byte
		data, differing int // at most
		regions         int
	}{
		{"nothing", nil, nil, 0, 0, 0},
		{"nothing of nothing", nil, []byte("abc"), 3, 0, 1},
		{"nothing of something", old, nil, 0, 0, 0},
		{"the same", old, old, 0, 0, 1},
		{"short", []byte("abcdef"), []byte("abcdef"), 0, 0, 1},
		{"other bytes", old, random(2, 100_000), 100_000, 200, 50},
		{"a part is new", old, join(old[:100_000], random(3, 1000), old[100_000:]), 1010, 10, 3},
		{"a part is gone", old, join(old[:100_000], old[120_000:]), 10, 10, 2},
		{"parts have changed places", old, join(old[200_000:], old[:100_000], old[100_000:200_000]), 10, 10, 3},
		{"a part comes twice", old, join(old[:200_000], old[100_000:]), 10, 10, 2},
		{"single bytes differ", old, moved, 0, 2990, 1},
		{"single bytes differ in what has moved", old, join(random(4, 999), moved[500:]), 1010, 3000, 3},
		{"zeros", make([]byte, 100_000), make([]byte, 200_000), 10, 10, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			regions := compare(test.old, test.fresh, &index{})
			data, differing := rebuild(t, test.old, test.fresh, regions)
			if data > test.data || differing > test.differing || len(regions) > test.regions {
				t.Errorf("%d regions, %d bytes new, %d differ", len(regions), data, differing)
			}
		})
	}
}

// Beyond the size of the index not every place can be found, but each match that is long enough.
func TestLargeOldFile(t *testing.T) {
	if testing.Short() {
		t.Skip("compares many megabytes")
	}
	old := random(5, 2*maxPlaces+12345)
	fresh := join(random(6, 777), old[5_000_001:6_000_003], random(7, 99), old[1_234_567:2_234_567])
	data, _ := rebuild(t, old, fresh, compare(old, fresh, &index{}))
	if data > 1000 {
		t.Errorf("%d bytes are new", data)
	}
}

// Bytes that match nearly everywhere must not take time that grows with the square of their number.
func TestTimeIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("compares many megabytes")
	}
	const size = 1 << 20
	sparse := func(every int) []byte {
		b := make([]byte, size)
		for i := every - 1; i < size; i += every {
			b[i] = byte(i/every%255) + 1
		}
		return b
	}
	period := bytes.Repeat([]byte("0123456789abcdefg"), size/17)
	worn := bytes.Clone(period)
	for i := 5; i < len(worn); i += 4001 {
		worn[i] = 'x'
	}
	for name, test := range map[string][2][]byte{
		"zeros":                  {make([]byte, size), make([]byte, size+1)},
		"zeros and more":         {make([]byte, size), sparse(4096)},
		"zeros and more, twice":  {sparse(4096), sparse(4095)},
		"zeros and much":         {sparse(64), sparse(63)},
		"a period":               {period, period[1:]},
		"a period with errors":   {period, worn},
		"errors without a match": {worn[3:], bytes.ToUpper(worn)},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			rebuild(t, test[0], test[1], compare(test[0], test[1], &index{}))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Log(took)
			}
		})
	}
}

func TestWithoutDigits(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "abc": "abc", "lib/modules/6.1.0-22/a.ko": "lib/modules/0.0.0-0/a.ko", "libfoo.so.10": "libfoo.so.0", "9": "0",
	} {
		if got := withoutDigits(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestEarlierVersions(t *testing.T) {
	var files []OldFile
	for _, p := range []string{
		"etc/config", "lib/modules/6.1.0-21/kernel/a.ko", "lib/modules/6.1.0-21/kernel/b.ko", "opt/x/README", "usr/lib/liba.so.1.2.3",
		"usr/lib/libb.so.9", "usr/share/doc/a/README", "usr/share/doc/b/README", "usr/share/doc/c/README",
	} {
		files = append(files, OldFile{p, 100})
	}
	files = append(files, OldFile{"usr/share/v/1/x", 1000}, OldFile{"usr/share/v/2/x", 2000})
	s := newSimilar(files)
	for path, want := range map[string]string{
		"etc/config":                          "etc/config",
		"lib/modules/6.1.0-22/kernel/a.ko":    "lib/modules/6.1.0-21/kernel/a.ko",
		"lib/modules/6.10.0-1/kernel/b.ko":    "lib/modules/6.1.0-21/kernel/b.ko",
		"usr/lib/liba.so.1.3.0":               "usr/lib/liba.so.1.2.3",
		"usr/lib/x86_64-linux-gnu/libb.so.10": "usr/lib/libb.so.9",
		"usr/share/doc/b2/README":             "usr/share/doc/b/README",
		"usr/share/v/3/x":                     "usr/share/v/2/x",
		"usr/bin/unknown":                     "",
		"README":                              "opt/x/README",
	} {
		got := ""
		if f := s.find(&newFile{path: path, size: 1900}); f != nil {
			got = f.Path
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
