package erofs_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

var update = flag.Bool("update", false, "rewrite the golden files; a changed digest needs an entry in the change log")

// boundaryTrees are trees on both sides of every boundary that decides an image's layout.
func boundaryTrees(t *testing.T) map[string]*tree.Inode {
	t.Helper()
	trees := map[string]*tree.Inode{}
	mtime := tree.Timespec{Sec: 1633950376, Nsec: 5}
	dir := func() *tree.Inode {
		return &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1, Mtime: mtime}
	}
	add := func(d *tree.Inode, name string, n tree.Inode) *tree.Inode {
		n.Nlink, n.Mtime = max(n.Nlink, 1), mtime
		if err := d.Add(tree.Entry{Name: name, Inode: &n}); err != nil {
			t.Fatal(err)
		}
		return &n
	}
	digest := func(h fsverity.Hash, fill byte) fsverity.Digest {
		d, err := fsverity.DigestFromBytes(slices.Repeat([]byte{fill}, h.Size()))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	external := func(size uint64, d fsverity.Digest) tree.Inode {
		return tree.Inode{Mode: tree.TypeRegular | 0o644, Size: size, Digest: d}
	}

	for _, n := range []int{0, 1, 63, 64, 65, 511, 512} {
		root := dir()
		add(root, "f", tree.Inode{Mode: tree.TypeRegular | 0o644, Size: uint64(n), Content: slices.Repeat([]byte("c"), n)})
		add(root, "g", tree.Inode{Mode: tree.TypeRegular | 0o644})
		trees[fmt.Sprintf("inline %d", n)] = root
	}
	// Symlinks push the following inodes across a block boundary byte by byte.
	for _, n := range []int{1, 31, 32, 33, 1023, 1024} {
		root := dir()
		for i := range 12 {
			add(root, fmt.Sprintf("l%02d", i), tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: strings.Repeat("t", max(1, n-i%3))})
			add(root, fmt.Sprintf("m%02d", i), tree.Inode{
				Mode: tree.TypeRegular | 0o600, Size: uint64(40 * i), Content: slices.Repeat([]byte("c"), 40*i),
			})
		}
		trees[fmt.Sprintf("symlink %d", n)] = root
	}
	// 24 bytes for "." and "..", 3 for their names, then entries of 12 bytes and the name.
	for _, bytes := range []int{2047, 2048, 2049, 4095, 4096, 4097, 8192, 8193} {
		root, d := dir(), dir()
		if err := root.Add(tree.Entry{Name: "d", Inode: d}); err != nil {
			t.Fatal(err)
		}
		for i := 0; bytes-27 > i*112; i++ {
			length := min(100, bytes-27-i*112-12)
			if length > 3 {
				add(d, fmt.Sprintf("%04d", i)+strings.Repeat("n", length-4), tree.Inode{Mode: tree.TypeFIFO | 0o644})
			}
		}
		trees[fmt.Sprintf("directory %d", bytes)] = root
	}
	for _, size := range []uint64{1, 4095, 4096, 4097, 1<<31 + 1, 1 << 32, 1<<43 + 1, 1 << 53} {
		root := dir()
		add(root, "a", external(size, digest(fsverity.HashSHA256, 0x5a)))
		add(root, "b", external(size, digest(fsverity.HashSHA512, 0xa5)))
		add(root, "c", external(size, digest(fsverity.HashSHA512, 0xa5)))
		trees[fmt.Sprintf("external %d", size)] = root
	}
	for _, n := range []int{127, 128, 129, 255, 256, 257} {
		root := dir()
		for _, name := range []string{"a", "b"} {
			f := add(root, name, tree.Inode{Mode: tree.TypeRegular | 0o644})
			for i := range n {
				f.SetXattr(fmt.Sprintf("user.%03d", i), "v")
			}
		}
		trees[fmt.Sprintf("shared xattrs %d", n)] = root
	}
	root := dir()
	for i, name := range []string{"lustre.lov", "user.", "system.posix_acl_access", "trusted.overlay.redirect", "plain"} {
		for _, file := range []string{"a", "b"} {
			f := add(root, fmt.Sprint(file, i), tree.Inode{Mode: tree.TypeRegular | 0o644, UID: 65535 + uint32(i)})
			f.SetXattr(name, "v")
		}
	}
	link := root.Children[0].Inode
	link.Nlink = 2
	sub := add(root, "sub", tree.Inode{Mode: tree.TypeDir | 0o700})
	sub.Children = []tree.Entry{{Name: "link", Inode: link, Link: true}}
	add(sub, "whiteout", tree.Inode{Mode: tree.TypeChar})
	add(sub, "null", tree.Inode{Mode: tree.TypeChar | 0o666, Rdev: 259})
	trees["prefixes links whiteouts"] = root
	return trees
}

// TestGoldenBoundaries pins our own digests, for the formats and hashes that no other vectors
// cover, so that no change of the writer moves them unnoticed.
func TestGoldenBoundaries(t *testing.T) {
	got := map[string]string{}
	for name, root := range boundaryTrees(t) {
		for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1, erofs.FormatV2} {
			for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
				_, res := writeImage(t, root, erofs.WriteOptions{Format: format, Algorithm: alg})
				got[fmt.Sprintf("%s, %v, %v", name, format, alg.Hash)] = res.Digest.String()
			}
		}
	}
	const path = "testdata/golden.json"
	if *update {
		data, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image digests have changed (-want +got):\n%s", diff)
	}
}

func TestV2DropsNanoseconds(t *testing.T) {
	digest := func(nsec uint32) fsverity.Digest {
		root := &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: tree.Timespec{Sec: 1, Nsec: nsec}}
		_, res := writeImage(t, root, erofs.WriteOptions{Format: erofs.FormatV2})
		return res.Digest
	}
	if digest(0) != digest(7) {
		t.Error("nanoseconds change a V2 image")
	}
}
