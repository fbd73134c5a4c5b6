package erofs_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// osTree makes a tree shaped like an OS image: n entries, ten to a directory, a label on each,
// one file in eight equal to another.
func osTree(tb testing.TB, n int) *tree.Inode {
	tb.Helper()
	label := []tree.Xattr{{Name: "security.selinux", Value: "system_u:object_r:usr_t:s0\x00"}}
	newDir := func() *tree.Inode {
		return &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1, Xattrs: label}
	}
	root := newDir()
	top, dir := newDir(), newDir()
	for i := range n {
		if i%1000 == 0 {
			top = newDir()
			root.Children = append(root.Children, tree.Entry{Name: fmt.Sprintf("top%07d", i), Inode: top})
		}
		if i%10 == 0 {
			dir = newDir()
			top.Children = append(top.Children, tree.Entry{Name: fmt.Sprintf("dir%07d", i), Inode: dir})
		}
		f := &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(i) + 100, Xattrs: label}
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i-i%8/7)))
		f.Digest, _ = fsverity.DigestFromBytes(sum[:])
		dir.Children = append(dir.Children, tree.Entry{Name: fmt.Sprintf("file%07d.so", i), Inode: f})
	}
	return root
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{64_000, 1_000_000} {
		root := osTree(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				res, err := erofs.Write(io.Discard, root, erofs.WriteOptions{Format: erofs.FormatV1})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(res.Size)
			}
		})
	}
}
