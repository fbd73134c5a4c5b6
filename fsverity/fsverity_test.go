package fsverity_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
)

// model is fs-verity as the kernel's documentation tells it, without any thought of speed.
func model(alg fsverity.Algorithm, salt, data []byte) string {
	bs := alg.BlockSize()
	sum := func(block []byte) []byte {
		h := alg.Hash.New()
		if len(salt) > 0 {
			padded := make([]byte, h.BlockSize())
			copy(padded, salt)
			h.Write(padded)
		}
		h.Write(block)
		return h.Sum(nil)
	}
	root := make([]byte, alg.Hash.Size())
	for level := data; len(level) > 0; {
		var hashes []byte
		for i := 0; i < len(level); i += bs {
			block := make([]byte, bs)
			copy(block, level[i:])
			hashes = append(hashes, sum(block)...)
		}
		if len(level) <= bs {
			root = hashes
			break
		}
		level = hashes
	}
	descriptor := make([]byte, 256)
	descriptor[0], descriptor[1], descriptor[2], descriptor[3] = 1, byte(alg.Hash), alg.BlockBits, byte(len(salt))
	binary.LittleEndian.PutUint64(descriptor[8:], uint64(len(data)))
	copy(descriptor[16:], root)
	copy(descriptor[80:], salt)
	h := alg.Hash.New()
	h.Write(descriptor)
	return fmt.Sprintf("%x", h.Sum(nil))
}

var algorithms = []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512, fsverity.SHA256x64, fsverity.SHA512x64}

// sizes returns lengths on both sides of where the Merkle tree changes its shape.
func sizes(alg fsverity.Algorithm) []int {
	bs := alg.BlockSize()
	arity := bs / alg.Hash.Size()
	list := []int{0, 1, bs - 1, bs, bs + 1, 2 * bs, 3*bs + 7, arity*bs - 1, arity * bs, arity*bs + 1, (arity + 1) * bs}
	switch {
	case alg.BlockBits == 16:
		return list[:7] // larger ones take many megabytes
	case testing.Short():
		return list
	}
	return append(list, 2*arity*bs, 2*arity*bs+1, arity*arity*bs, arity*arity*bs+1)
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7 + i>>11)
	}
	return data
}

func TestVectors(t *testing.T) {
	for _, tc := range []struct {
		data string
		alg  fsverity.Algorithm
		want string
	}{
		{"", fsverity.SHA256, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"},
		{"\x00", fsverity.SHA256, "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551"},
		{strings.Repeat("\x00", 4095), fsverity.SHA256, "5372beb83c78537c8970c8361e3254119fafdf1763854ecd57d3f0fe2da7c719"},
		{strings.Repeat("\x00", 4096), fsverity.SHA256, "babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e"},
		{strings.Repeat("\x00", 4097), fsverity.SHA256, "093756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743"},
		{strings.Repeat("\x00", 524288), fsverity.SHA256, "2d15bd7832895de85aa3d5bdfb57251e27bbec75ff467408340ab3eba858a2e1"},
		{strings.Repeat("\x00", 524289), fsverity.SHA256, "e4143a5705610b7ad2eb85482cfc033c7062a89b9faf9118603f592d53fd10e0"},
		{strings.Repeat("\x00", 1048577), fsverity.SHA256, "5ceb20530731a1a1cea6a4badc2fabecc8b9f15481657e1eb8fab82d8b2f2268"},
		{"hello world\n", fsverity.SHA256, "37061ef2ac4c21bec68489b56138c5780306a4ad7fe6676236ecdf2c9027cd92"},
		{"foo bar baz\n", fsverity.SHA256, "91e7d88cb7bc9cf6d8db3b0ecf89af4abf204bef5b3ade5113d5b62ef374e70b"},
		{"hello world", fsverity.SHA256, "1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64"},
		{"hello world", fsverity.SHA512, "18430270729d162d4e469daca123ae61893db4b0583d8f7081e3bf4f92b88ba514e7982f10733fb6aa895195c5ae8fd2eb2c47a8be05513ce5a0c51a6f570409"},
	} {
		got, err := fsverity.Sum(tc.alg, []byte(tc.data))
		if err != nil || got.String() != tc.want {
			t.Errorf("%v of %d bytes is %v (%v), want %s", tc.alg, len(tc.data), got, err, tc.want)
		}
	}
}

func TestAgainstModel(t *testing.T) {
	for _, alg := range algorithms {
		for _, salt := range [][]byte{nil, []byte("salt"), pattern(32)} {
			t.Run(fmt.Sprintf("%v/salt %d", alg, len(salt)), func(t *testing.T) {
				t.Parallel()
				for _, n := range sizes(alg) {
					data := pattern(n)
					want := model(alg, salt, data)
					h, err := fsverity.NewHasher(fsverity.Options{Algorithm: alg, Salt: salt})
					if err != nil {
						t.Fatal(err)
					}
					for _, step := range []int{1000, alg.BlockSize() - 1, alg.BlockSize(), alg.BlockSize() + 1, n + 1} {
						h.Reset()
						for off := 0; off < n; off += step {
							_, _ = h.Write(data[off:min(off+step, n)])
							if off == step {
								h.Digest() // asking early must not disturb
							}
						}
						if got := h.Digest().String(); got != want {
							t.Errorf("%d bytes in steps of %d: %s, want %s", n, step, got, want)
						}
					}
					opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg, Salt: salt}}
					got, err := fsverity.File(context.Background(), bytes.NewReader(data), int64(n), opts)
					if err != nil || got.String() != want {
						t.Errorf("File of %d bytes: %v (%v), want %s", n, got, err, want)
					}
				}
			})
		}
	}
}

func TestFileInParallel(t *testing.T) {
	for _, n := range []int{8 << 20, 8<<20 + 1, 9<<20 - 1, 20<<20 + 12345, 257<<20 + 1} {
		data := pattern(n)
		for _, alg := range algorithms {
			if (n > 100<<20 && alg.Hash != fsverity.HashSHA256) || (testing.Short() && n != 8<<20+1) {
				continue // few are enough to see that windows are put together
			}
			want := model(alg, nil, data)
			for _, jobs := range []int{1, 2, 7} {
				opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}, Jobs: jobs}
				got, err := fsverity.File(t.Context(), bytes.NewReader(data), int64(n), opts)
				if err != nil || got.String() != want {
					t.Errorf("%v, %d bytes, %d jobs: %v (%v), want %s", alg, n, jobs, got, err, want)
				}
			}
		}
	}
}

func TestFileOfAnotherSize(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 9 << 20} {
		data := pattern(n)
		for _, size := range []int{n - 1, n + 1, n + 20<<20} {
			if size < 0 {
				continue
			}
			_, err := fsverity.File(t.Context(), bytes.NewReader(data), int64(size), fsverity.FileOptions{Jobs: 4})
			if !errors.Is(err, fsverity.ErrSize) {
				t.Errorf("%d bytes taken for %d: error is %v", n, size, err)
			}
		}
	}
}

func TestFileStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, n := range []int{100, 9 << 20} {
		_, err := fsverity.File(ctx, bytes.NewReader(pattern(n)), int64(n), fsverity.FileOptions{Jobs: 4})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d bytes: error is %v", n, err)
		}
	}
}

func TestFsverityProgramAgrees(t *testing.T) {
	program, err := exec.LookPath("fsverity")
	if err != nil {
		testenv.Missing(t, "fsverity", "the program fsverity is not installed")
	}
	path := filepath.Join(t.TempDir(), "file")
	for _, alg := range algorithms {
		for _, salt := range []string{"", "00ff10"} {
			for _, n := range sizes(alg) {
				data := pattern(n)
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
				args := []string{"digest", "--compact", "--hash-alg=" + alg.Hash.String(), fmt.Sprintf("--block-size=%d", alg.BlockSize())}
				raw := []byte{}
				if salt != "" {
					args = append(args, "--salt="+salt)
					raw = []byte{0, 0xff, 0x10}
				}
				out, err := exec.Command(program, append(args, path)...).Output()
				if err != nil {
					t.Fatal(err)
				}
				opts := fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg, Salt: raw}}
				got, err := fsverity.File(t.Context(), bytes.NewReader(data), int64(n), opts)
				if want := strings.TrimSpace(string(out)); err != nil || got.String() != want {
					t.Errorf("%v salt %q %d bytes: %v (%v), want %s", alg, salt, n, got, err, want)
				}
			}
		}
	}
}

// A store of small files hashes them by the ten thousand.
func TestNothingIsAllocatedButTheDigest(t *testing.T) {
	for _, alg := range algorithms {
		for _, salt := range [][]byte{nil, []byte("salt")} {
			h, err := fsverity.NewHasher(fsverity.Options{Algorithm: alg, Salt: salt})
			if err != nil {
				t.Fatal(err)
			}
			data := pattern(300000)
			hash := func() {
				h.Reset()
				_, _ = h.Write(data)
				h.Digest()
			}
			hash()
			if n := testing.AllocsPerRun(10, hash); n > 1 {
				t.Errorf("%v, salt of %d: %v allocations", alg, len(salt), n)
			}
		}
	}
}

func TestParseAlgorithm(t *testing.T) {
	for text, want := range map[string]fsverity.Algorithm{
		"fsverity-sha256-12": fsverity.SHA256, "fsverity-sha512-12": fsverity.SHA512,
		"fsverity-sha256-16": fsverity.SHA256x64, "fsverity-sha512-16": fsverity.SHA512x64,
		"sha256": fsverity.SHA256, "sha512": fsverity.SHA512,
	} {
		if got, err := fsverity.ParseAlgorithm(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "md5", "fsverity-", "fsverity-sha256", "fsverity-sha256-13", "fsverity-sha256-12-", "sha256-12"} {
		if got, err := fsverity.ParseAlgorithm(text); !errors.Is(err, fsverity.ErrAlgorithm) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestParseDigest(t *testing.T) {
	d, err := fsverity.ParseDigest(strings.Repeat("5A", 32))
	if err != nil || d.String() != strings.Repeat("5a", 32) || d.ObjectPath() != "5a/"+strings.Repeat("5a", 31) || d.Hash() != fsverity.HashSHA256 {
		t.Errorf("%v %q: %v", d, d.ObjectPath(), err)
	}
	for _, text := range []string{"", "5a", strings.Repeat("5", 63), strings.Repeat("g", 64), strings.Repeat("5", 127)} {
		if d, err := fsverity.ParseDigest(text); !errors.Is(err, fsverity.ErrDigestSyntax) {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, alg := range algorithms[:2] {
		for _, n := range []int{100, 4096, 20000, 1 << 20} {
			data := pattern(n)
			b.Run(fmt.Sprintf("%v/%d", alg.Hash, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := fsverity.Sum(alg, data); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPlain is the hash function alone, to compare with.
func BenchmarkPlain(b *testing.B) {
	data := pattern(1 << 20)
	b.Run("sha256/1048576", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for block := data; len(block) > 0; block = block[4096:] {
				sha256.Sum256(block[:4096])
			}
		}
	})
	b.Run("sha512/1048576", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for block := data; len(block) > 0; block = block[4096:] {
				sha512.Sum512(block[:4096])
			}
		}
	})
}

func BenchmarkFile(b *testing.B) {
	data := bytes.NewReader(pattern(256 << 20))
	for _, jobs := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			b.SetBytes(data.Size())
			for b.Loop() {
				if _, err := fsverity.File(b.Context(), data, data.Size(), fsverity.FileOptions{Jobs: jobs}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
