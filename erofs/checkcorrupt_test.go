package erofs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// A broken image, made by changing some bytes of a good one.
type patient struct {
	t     *testing.T
	bytes []byte
	img   *erofs.Image // the good one
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	root, _ := storedTree(t)
	root.SetXattr("security.selinux", "label")
	for _, e := range tree.Walk(root) {
		e.Inode.SetXattr("security.selinux", "label")
	}
	many, err := tree.Resolve(root, "etc/empty")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user.a", "user.b", "user.c"} {
		many.SetXattr(name, "of its own "+name)
	}
	hosts, err := tree.Resolve(root, "etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	hosts.Nlink = 2
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: erofs.FormatV1}); err != nil {
		t.Fatal(err)
	}
	good := bytes.Clone(image.Bytes())
	return &patient{t, image.Bytes(), openImage(t, good)}
}

// at returns where the inode of a path lies.
func (p *patient) at(name string) int {
	p.t.Helper()
	return int(p.inode(name).Nid) * 32
}

func (p *patient) inode(name string) *erofs.Inode {
	p.t.Helper()
	in, err := p.img.Root()
	if err != nil {
		p.t.Fatal(err)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" {
			continue
		}
		e, err := in.Lookup(part)
		if err != nil {
			p.t.Fatal(err)
		}
		if in, err = p.img.Inode(e.Nid); err != nil {
			p.t.Fatal(err)
		}
	}
	return in
}

// entry returns where the directory entry of a path lies.
func (p *patient) entry(name string) int {
	p.t.Helper()
	dir := p.inode(path.Dir(name))
	data := make([]byte, dir.Size)
	if _, err := dir.ReadAt(data, 0); err != nil {
		p.t.Fatal(err)
	}
	nid := binary.LittleEndian.AppendUint64(nil, p.inode(name).Nid)
	if path.Base(name) == "." || path.Base(name) == ".." {
		p.t.Fatal("these are found by hand")
	}
	i := bytes.Index(data, nid)
	at := bytes.Index(p.bytes, data[i:i+12])
	if i < 0 || at < 0 || bytes.Count(p.bytes, data[i:i+12]) != 1 {
		p.t.Fatalf("entry %s is not there once", name)
	}
	return at
}

// find returns where some bytes lie that the image has once.
func (p *patient) find(what string) int {
	p.t.Helper()
	if bytes.Count(p.bytes, []byte(what)) != 1 {
		p.t.Fatalf("%q is %d times in the image", what, bytes.Count(p.bytes, []byte(what)))
	}
	return bytes.Index(p.bytes, []byte(what))
}

// body is the size of an inode.
func (p *patient) body(name string) int {
	if p.inode(name).Extended() {
		return 64
	}
	return 32
}

func (p *patient) put16(at int, v uint16) { binary.LittleEndian.PutUint16(p.bytes[at:], v) }
func (p *patient) put32(at int, v uint32) { binary.LittleEndian.PutUint32(p.bytes[at:], v) }
func (p *patient) put64(at int, v uint64) { binary.LittleEndian.PutUint64(p.bytes[at:], v) }
func (p *patient) get16(at int) uint16    { return binary.LittleEndian.Uint16(p.bytes[at:]) }
func (p *patient) get32(at int) uint32    { return binary.LittleEndian.Uint32(p.bytes[at:]) }

const super = 1024

var corruptions = []struct {
	name string
	do   func(p *patient)
	kind erofs.ProblemKind
}{
	{"number of inodes", func(p *patient) { p.bytes[super+16]++ }, erofs.ProblemSuper},
	{"fewer blocks", func(p *patient) { p.bytes[super+36]-- }, erofs.ProblemSuper},
	{"build time", func(p *patient) { p.put64(super+24, 200) }, erofs.ProblemSuper},
	{"build time beyond a second", func(p *patient) { p.put32(super+32, 1e9) }, erofs.ProblemInode},
	{"compatible features", func(p *patient) { p.bytes[super+8] = 2 }, erofs.ProblemSuper},
	{"incompatible features", func(p *patient) { p.bytes[super+80] = 1 }, erofs.ProblemSuper},
	{"shared attributes elsewhere", func(p *patient) { p.bytes[super+44]++ }, erofs.ProblemXattrShared},
	{"shared attributes outside", func(p *patient) { p.bytes[super+47]++ }, erofs.ProblemSuper},
	{"root elsewhere", func(p *patient) { p.put16(super+14, uint16(p.inode("etc/inline").Nid)) }, erofs.ProblemInode},
	{"uuid", func(p *patient) { p.bytes[super+50] = 1 }, erofs.ProblemSuper},
	{"end of the superblock", func(p *patient) { p.bytes[super+120] = 1 }, erofs.ProblemSuper},
	{"no ACL", func(p *patient) { p.bytes[8] = 1 }, erofs.ProblemHeader},
	{"header flags", func(p *patient) { p.bytes[8] = 2 }, erofs.ProblemHeader},
	{"header padding", func(p *patient) { p.bytes[700] = 1 }, erofs.ProblemHeader},

	{"no file type", func(p *patient) { p.put16(p.at("etc/empty")+4, 0o644) }, erofs.ProblemInode},
	{"format bits", func(p *patient) { p.bytes[p.at("etc/empty")+1] = 1 }, erofs.ProblemInode},
	{"reserved bytes", func(p *patient) { p.bytes[p.at("etc/empty")+p.body("etc/empty")-1] = 1 }, erofs.ProblemInode},
	{"inode number", func(p *patient) { p.bytes[p.at("etc/empty")+20]++ }, erofs.ProblemInode},
	{"nanoseconds", func(p *patient) { p.put32(p.at("etc/inline")+40, 1e9) }, erofs.ProblemInode},
	{"fifo with bytes", func(p *patient) { p.bytes[p.at("special/fifo")+8] = 1 }, erofs.ProblemInode},
	{"links of a directory", func(p *patient) { p.bytes[p.at("etc")+6]++ }, erofs.ProblemNlink},
	{"compressed file", func(p *patient) { p.bytes[p.at("etc/big-inline")] ^= 1<<1 | 2<<1 }, erofs.ProblemLayout},
	{"data outside", func(p *patient) { p.bytes[p.at("etc/big-inline")+18] = 1 }, erofs.ProblemLayout},
	{"data of another", func(p *patient) { p.put32(p.at("etc/big-inline")+16, p.get32(p.at("many")+16)) }, erofs.ProblemOverlap},
	{"inline data across blocks", func(p *patient) {
		at := p.at("etc/inline")
		area := (at | 4095) - 3 - at - p.body("etc/inline") // so that the data starts 4 bytes before the end
		p.put16(at+2, uint16((area-12)/4+1))
	}, erofs.ProblemLayout},
	{"attributes outside", func(p *patient) { p.put16(p.at("special/whiteout")+2, 0xffff) }, erofs.ProblemLayout},
	{"attributes over other inodes", func(p *patient) { p.put16(p.at("etc/empty")+2, 300) }, erofs.ProblemOverlap},
	{"symlink of 0 bytes", func(p *patient) { p.bytes[p.at("links/out")+8] = 0 }, erofs.ProblemSymlink},
	{"symlink of too many bytes", func(p *patient) { p.put16(p.at("links/out")+8, 4096) }, erofs.ProblemSymlink},
	{"symlink with a NUL", func(p *patient) { p.bytes[p.find("../../../../etc/inline")+3] = 0 }, erofs.ProblemSymlink},
	{"content beyond the limit", func(p *patient) { p.put16(p.at("etc/big-inline")+8, 6000) }, erofs.ProblemLayout},

	{"directory of 0 bytes", func(p *patient) { p.put32(p.at("etc")+8, 0) }, erofs.ProblemDirectory},
	{"huge directory", func(p *patient) { p.bytes[p.at("etc")+11] = 0x7f }, erofs.ProblemLayout},
	{"names out of order", func(p *patient) { p.bytes[p.find("big-inline")] = 'z' }, erofs.ProblemDirectory},
	{"name with a slash", func(p *patient) { p.bytes[p.find("big-inline")+3] = '/' }, erofs.ProblemDirent},
	{"entry of another type", func(p *patient) { p.bytes[p.entry("etc/empty")+10] = 2 }, erofs.ProblemDirent},
	{"reserved byte of an entry", func(p *patient) { p.bytes[p.entry("etc/empty")+11] = 2 }, erofs.ProblemDirent},
	{"entry to nowhere", func(p *patient) { p.put32(p.entry("etc/empty"), 1<<30) }, erofs.ProblemInode},
	{"entry to no inode", func(p *patient) { p.put32(p.entry("etc/empty"), 1) }, erofs.ProblemInode},
	{"directory in two places", func(p *patient) { p.put64(p.entry("etc/empty"), p.inode("links").Nid) }, erofs.ProblemDirLink},
	{"directory in itself", func(p *patient) { p.put64(p.entry("etc/empty"), p.inode("etc").Nid) }, erofs.ProblemDirLink},
	{"first name elsewhere", func(p *patient) { p.bytes[p.tail("etc")+8]++ }, erofs.ProblemDirectory},
	{"second name elsewhere", func(p *patient) { p.put16(p.tail("etc")+12+8, 0xfff0) }, erofs.ProblemDirent},
	{"wrong dot", func(p *patient) { p.bytes[p.tail("etc")]++ }, erofs.ProblemDirent},
	{"wrong dot dot", func(p *patient) { p.bytes[p.tail("etc")+12]++ }, erofs.ProblemDirent},
	{"dot of another type", func(p *patient) { p.bytes[p.tail("etc")+10] = 1 }, erofs.ProblemDirent},
	{"no dot dot", func(p *patient) {
		names := p.tail("etc") + int(p.get16(p.tail("etc")+8))
		p.bytes[names+2] = '/' // ".." follows "."
	}, erofs.ProblemDirectory},

	{"filter hides a name", func(p *patient) { p.put32(p.at("etc/empty")+p.body("etc/empty"), ^uint32(0)) }, erofs.ProblemXattrFilter},
	{"filter with a bit too few", func(p *patient) { p.put32(p.at("etc/empty")+p.body("etc/empty"), 0) }, erofs.ProblemXattrFilter},
	{"too many shared attributes", func(p *patient) { p.bytes[p.at("etc/empty")+p.body("etc/empty")+4] = 200 }, erofs.ProblemXattr},
	{"shared id to nowhere", func(p *patient) { p.bytes[p.at("etc/empty")+p.body("etc/empty")+15] = 200 }, erofs.ProblemXattrShared},
	{"shared id into an entry", func(p *patient) { p.bytes[p.at("etc/empty")+p.body("etc/empty")+12]++ }, erofs.ProblemXattr},
	{"name index", func(p *patient) { p.bytes[p.find("aof its own user.a")-3] = 9 }, erofs.ProblemXattr},
	{"long prefix", func(p *patient) { p.bytes[p.find("aof its own user.a")-3] = 0x81 }, erofs.ProblemXattr},
	{"unusual name index", func(p *patient) { p.bytes[p.find("aof its own user.a")-3] = 0 }, erofs.ProblemXattrFilter},
	{"length of a value", func(p *patient) { p.bytes[p.find("aof its own user.a")-1] = 9 }, erofs.ProblemXattr},
	{"attribute with a NUL", func(p *patient) { p.bytes[p.find("aof its own user.a")] = 0 }, erofs.ProblemXattr},
	{"attributes out of order", func(p *patient) { p.bytes[p.find("aof its own user.a")] = 'd' }, erofs.ProblemXattrOrder},
	{"attribute there twice", func(p *patient) { p.bytes[p.find("aof its own user.a")] = 'b' }, erofs.ProblemXattrOrder},

	{"version of metacopy", func(p *patient) { p.bytes[p.metacopy("etc/backed")] = 1 }, erofs.ProblemOverlay},
	{"length in metacopy", func(p *patient) { p.bytes[p.metacopy("etc/backed")+1]++ }, erofs.ProblemOverlay},
	{"flags of metacopy", func(p *patient) { p.bytes[p.metacopy("etc/backed")+2]++ }, erofs.ProblemOverlay},
	{"hash of metacopy", func(p *patient) { p.bytes[p.metacopy("etc/backed")+3]++ }, erofs.ProblemOverlay},
	{"redirect out of the store", func(p *patient) { copy(p.bytes[p.find("/some/where"):], "/../s/where") }, erofs.ProblemOverlay},
	{"relative redirect", func(p *patient) { p.bytes[p.find("/some/where")] = 'x' }, erofs.ProblemOverlay},
	{"another overlay attribute", func(p *patient) { p.bytes[p.find("overlay.opaquey")+8] = 'x' }, erofs.ProblemOverlay},
	{"root not opaque", func(p *patient) { p.bytes[p.find("overlay.opaquey")+14] = 'n' }, erofs.ProblemOverlay},
	{"data behind a hole", func(p *patient) { p.bytes[p.tail("etc/backed")] = 0 }, erofs.ProblemChunks},
	{"chunk format", func(p *patient) { p.bytes[p.at("etc/backed")+16] |= 0x20 }, erofs.ProblemChunks},
	{"unknown chunk format", func(p *patient) { p.bytes[p.at("etc/backed")+17] |= 1 }, erofs.ProblemInode},
	{"redirect on inline content", func(p *patient) { p.bytes[p.at("etc/backed")] &^= 4 << 1 }, erofs.ProblemOverlay},

	{"stub missing", func(p *patient) {
		at := p.find("fdfeff")
		copy(p.bytes[at:], "fdfefg")
	}, erofs.ProblemStub},
	{"mode of a stub", func(p *patient) { p.bytes[p.at("0a")+4] ^= 1 }, erofs.ProblemStub},
	{"whiteout not escaped", func(p *patient) {
		p.bytes[p.at("special/block")+5] = 0o20000 >> 8
		p.put32(p.at("special/block")+16, 0)
	}, erofs.ProblemWhiteout},
	{"something between inodes", func(p *patient) { p.bytes[p.gap()] = 1 }, erofs.ProblemSpace},
	{"something before the data", func(p *patient) { p.bytes[p.get32(p.at("/")+16)*4096-1] = 1 }, erofs.ProblemSpace},
	{"something behind the names", func(p *patient) { p.bytes[p.get32(p.at("many")+16)*4096+4095] = 1 }, erofs.ProblemDirectory},
}

// tail returns where inline data or the chunk table of an inode starts.
func (p *patient) tail(name string) int {
	at := p.at(name)
	size := p.body(name)
	if count := int(p.get16(at + 2)); count > 0 {
		size += 12 + (count-1)*4
	}
	return at + size
}

// metacopy returns where the value of a file's attribute starts.
func (p *patient) metacopy(name string) int {
	at := p.at(name)
	i := bytes.Index(p.bytes[at:p.tail(name)], []byte("overlay.metacopy"))
	if i < 0 {
		p.t.Fatal("the attribute is shared")
	}
	return at + i + len("overlay.metacopy")
}

// gap returns a byte between two inodes.
func (p *patient) gap() int {
	end := p.tail("special/fifo")
	if end%32 == 0 {
		p.t.Fatal("there is no gap")
	}
	return end
}

func TestCheckFindsEachCorruption(t *testing.T) {
	for _, p := range problems(t, newPatient(t).img, erofs.CheckOptions{}) {
		t.Errorf("before: %s", p)
	}
	for _, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			c.do(p)
			img := openImage(t, p.bytes)
			found := problems(t, img, erofs.CheckOptions{})
			if !slices.ContainsFunc(found, func(p erofs.Problem) bool { return p.Kind == c.kind }) {
				t.Errorf("got %v, want kind %s", found, c.kind)
			}
			for _, p := range found {
				if p.Detail == "" {
					t.Errorf("%v has no detail", p)
				}
			}
			if _, err := img.Tree(erofs.TreeOptions{}); err != nil && !errors.Is(err, erofs.ErrCorrupt) && !errors.Is(err, erofs.ErrUnsupported) {
				t.Errorf("tree: %v", err)
			}
		})
	}
}
