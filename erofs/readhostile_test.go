package erofs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// composefs-info 1.0.8 overflows its stack at 1000 directories.
func TestDeepDirectories(t *testing.T) {
	root := &tree.Inode{Mode: tree.TypeDir | 0o755}
	dir := root
	for range 3000 {
		next := &tree.Inode{Mode: tree.TypeDir | 0o755}
		dir.Children = []tree.Entry{{Name: "d", Inode: next}}
		dir = next
	}
	dir.Children = []tree.Entry{{Name: "leaf", Inode: &tree.Inode{Mode: tree.TypeRegular, Nlink: 1}}}
	img := imageOf(t, root, erofs.FormatV1)
	loaded, err := img.Tree(erofs.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leaf := strings.Repeat("d/", 3000) + "leaf"
	if _, err := tree.Resolve(loaded, leaf); err != nil {
		t.Error(err)
	}
	if _, err := img.FS(erofs.FSOptions{}).Stat(leaf); err != nil {
		t.Error(err)
	}
	for _, p := range problems(t, img, erofs.CheckOptions{}) {
		t.Error(p)
	}
}

// Thousands of directories that share the blocks of one claim millions of entries.
func TestDirectoriesThatShareBlocksAreRefused(t *testing.T) {
	const n = 3000
	root := &tree.Inode{Mode: tree.TypeDir | 0o755}
	big := &tree.Inode{Mode: tree.TypeDir | 0o755}
	for i := range n {
		big.Children = append(big.Children, tree.Entry{Name: fmt.Sprintf("file%05d", i), Inode: &tree.Inode{Mode: tree.TypeRegular, Nlink: 1}})
		root.Children = append(root.Children, tree.Entry{Name: fmt.Sprintf("directory%05d", i), Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}})
	}
	root.Children = append(root.Children, tree.Entry{Name: "big", Inode: big})
	if err := moveLastFirst(root); err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: erofs.FormatV0}); err != nil {
		t.Fatal(err)
	}
	b := image.Bytes()
	img := openImage(t, bytes.Clone(b))
	top, err := img.Root()
	if err != nil {
		t.Fatal(err)
	}
	e, err := top.Lookup("big")
	if err != nil {
		t.Fatal(err)
	}
	from := b[e.Nid*32:]
	for d, err := range top.Dirents() {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(d.Name, "directory") {
			to := b[d.Nid*32:]
			blocks := binary.LittleEndian.Uint32(from[8:]) >> 12 << 12
			binary.LittleEndian.PutUint32(to[8:], blocks)
			copy(to[16:20], from[16:20])
			to[0] = 0 // flat, without a tail
		}
	}
	img = openImage(t, b)
	limit := uint64(100*len(b) + 64<<20)
	if got := allocated(func() { _, err = img.Tree(erofs.TreeOptions{}) }); !errors.Is(err, erofs.ErrCorrupt) || got > limit {
		t.Errorf("tree: %v after %d bytes, the image has %d", err, got, len(b))
	}
	if got := allocated(func() {
		if len(problems(t, img, erofs.CheckOptions{})) == 0 {
			t.Error("check finds nothing")
		}
	}); got > limit {
		t.Errorf("check allocates %d bytes, the image has %d", got, len(b))
	}
}

// moveLastFirst puts the last child in its place in a root that is sorted but for it.
func moveLastFirst(root *tree.Inode) error {
	last := len(root.Children) - 1
	e := root.Children[last]
	root.Children = root.Children[:last]
	return root.Add(e)
}

// Sizes near 2^63 overflow nothing and allocate nothing.
func TestHugeSizes(t *testing.T) {
	for _, name := range []string{"etc", "many", "etc/big-inline", "etc/inline", "etc/hosts", "links/out", "etc/empty"} {
		for _, size := range []uint64{1 << 31, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			for layout := range byte(8) {
				p := newPatient(t)
				at := p.at(name)
				p.bytes[at] = p.bytes[at]&1 | layout<<1
				if p.body(name) == 64 {
					p.put64(at+8, size)
				} else {
					p.put32(at+8, uint32(size))
				}
				img := openImage(t, p.bytes)
				if got := allocated(func() { readAll(img) }); got > 64<<20 {
					t.Errorf("%s with %d bytes in layout %d: %d bytes are allocated", name, size, layout, got)
				}
			}
		}
	}
}

// readAll uses all that a reader offers, as far as the image lets it.
func readAll(img *erofs.Image) {
	_, _ = img.Tree(erofs.TreeOptions{XattrOrder: map[*tree.Inode][]tree.Xattr{}, MetadataOnly: true})
	for range img.Check(erofs.CheckOptions{MaxProblems: 50}) {
	}
	root, err := img.Root()
	if err != nil {
		return
	}
	view := img.FS(erofs.FSOptions{})
	_, _ = view.ReadDir(".")
	for e, err := range root.Dirents() {
		if err != nil {
			break
		}
		_, _ = root.Lookup(e.Name)
		_, _ = view.Stat(e.Name)
		_, _ = view.Inode(e.Name, false)
		_, _ = view.ReadLink(e.Name)
		in, err := img.Inode(e.Nid)
		if err != nil {
			continue
		}
		for _, err := range in.Xattrs() {
			if err != nil {
				break
			}
		}
		_, _ = in.Node()
		_, _ = io.CopyN(io.Discard, in.Data(), 10<<10)
		_, _ = in.ReadAt(make([]byte, 10), int64(in.Size)-5)
	}
}

// sparse is an image with a hole of 2^40 bytes in the middle.
type sparse struct {
	head, tail []byte
	gap        int64 // between them
}

func (s *sparse) size() int64 { return int64(len(s.head)+len(s.tail)) + s.gap }

func (s *sparse) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		switch at := off + int64(i); {
		case at < int64(len(s.head)):
			b[i] = s.head[at]
		case at < int64(len(s.head))+s.gap:
			b[i] = 0
		case at < s.size():
			b[i] = s.tail[at-int64(len(s.head))-s.gap]
		default:
			return i, io.EOF
		}
	}
	return len(b), nil
}

// composefs-info 1.0.8 cannot read blocks beyond 4 GiB.
func TestDataBeyond4GiB(t *testing.T) {
	for _, gap := range []int64{1 << 32, 1 << 43} {
		p := newPatient(t)
		first := int64(p.get32(p.at("/")+16)) * 4096 // the root's block is the first of the data
		for _, name := range []string{"/", "many", "etc/big-inline"} {
			at := p.at(name) + 16
			p.put32(at, p.get32(at)+uint32(gap/4096))
		}
		p.put32(super+36, uint32((int64(len(p.bytes))+gap)/4096))
		s := &sparse{p.bytes[:first], p.bytes[first:], gap}
		img, err := erofs.Open(s, s.size())
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.img.Tree(erofs.TreeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := img.Tree(erofs.TreeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(describeTree(got)) != fmt.Sprint(describeTree(want)) {
			t.Errorf("gap of %d bytes: the tree differs", gap)
		}
	}
}

// brokenReader fails from some byte on.
type brokenReader struct {
	r  io.ReaderAt
	at int64
}

var errDisk = errors.New("the disk is broken")

func (b *brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, errDisk
	}
	return b.r.ReadAt(p, off)
}

// An error of the disk is none of the image, and one of a file that shrinks says so.
func TestReadErrorsAreNotCorruption(t *testing.T) {
	p := newPatient(t)
	size := int64(len(p.bytes))
	img, err := erofs.Open(&brokenReader{bytes.NewReader(p.bytes), 33000}, size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.Tree(erofs.TreeOptions{}); !errors.Is(err, errDisk) || errors.Is(err, erofs.ErrCorrupt) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if found := problems(t, img, erofs.CheckOptions{}); len(found) == 0 || found[0].Kind != erofs.ProblemRead {
		t.Errorf("got %v, want kind read", found)
	}
	img, err = erofs.Open(bytes.NewReader(p.bytes[:40000]), size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.Tree(erofs.TreeOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want unexpected EOF", err)
	}
}
