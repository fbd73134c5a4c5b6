package erofs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// problems checks an image and returns what is no note.
func problems(t testing.TB, img *erofs.Image, opts erofs.CheckOptions) []erofs.Problem {
	t.Helper()
	return checkedFor(t, img, opts, func(p erofs.Problem) bool { return !p.Note })
}

func checkedFor(t testing.TB, img *erofs.Image, opts erofs.CheckOptions, want func(erofs.Problem) bool) []erofs.Problem {
	t.Helper()
	var list []erofs.Problem
	for p := range img.Check(opts) {
		if want(p) {
			list = append(list, p)
		}
	}
	return list
}

// unsound is what no writer's image may have: all but two notes. A random tree has random link
// counts, and huge files spill their chunk tables.
func unsound(p erofs.Problem) bool {
	return !p.Note || p.Kind != erofs.ProblemNlink && p.Kind != erofs.ProblemChunkSpill
}

func TestCheckFindsNothingInOwnImages(t *testing.T) {
	for seed := range uint64(150) {
		root := randomTree(seed)
		for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1, erofs.FormatV2} {
			if format == erofs.FormatV2 {
				clampToV2(root)
			}
			for _, p := range checkedFor(t, imageOf(t, root, format), erofs.CheckOptions{}, unsound) {
				t.Errorf("seed %d, %s: %s", seed, format, p)
			}
			if t.Failed() {
				return
			}
		}
	}
}

func TestCheckFindsNothingInPeerImages(t *testing.T) {
	peerDumps(t, func(t *testing.T, dump []byte) {
		for _, args := range [][]string{nil, {"--min-version=1"}, {"--max-version=0"}} {
			image, err := peerImage(t, dump, args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range checkedFor(t, openImage(t, image), erofs.CheckOptions{}, unsound) {
				t.Errorf("%q: %s", args, p)
			}
		}
	})
}

// Data that lies elsewhere says the same to a reader, and is another image.
func TestCheckNotesOtherImagesOfATree(t *testing.T) {
	p := newPatient(t)
	big, many := p.at("etc/big-inline")+16, p.at("many")+16
	a, b := int(p.get32(big))*4096, int(p.get32(many))*4096
	if p.inode("many").Size < 3*4096 {
		t.Fatal("the directory has too few blocks")
	}
	// Two blocks of the directory change places with the one before them.
	first := min(a, b)
	blocks := slices.Concat(p.bytes[b:b+int(p.inode("many").Size)&^4095], p.bytes[a:a+4096])
	if first == b {
		blocks = slices.Concat(p.bytes[a:a+4096], p.bytes[b:b+int(p.inode("many").Size)&^4095])
	}
	copy(p.bytes[first:], blocks)
	if first == a {
		p.put32(many, uint32(first/4096))
		p.put32(big, uint32(first/4096)+uint32(p.inode("many").Size/4096))
	} else {
		p.put32(big, uint32(first/4096))
		p.put32(many, uint32(first/4096)+1)
	}
	var kinds []erofs.ProblemKind
	for p := range openImage(t, p.bytes).Check(erofs.CheckOptions{}) {
		kinds = append(kinds, p.Kind)
	}
	if !slices.Equal(kinds, []erofs.ProblemKind{erofs.ProblemCanonical}) {
		t.Errorf("got %v, want one note", kinds)
	}
}

func TestOpenRefusesBrokenSuperblocks(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(p *patient)
		want error
	}{
		{"magic", func(p *patient) { p.bytes[super]++ }, erofs.ErrCorrupt},
		{"block size", func(p *patient) { p.bytes[super+12] = 8 }, erofs.ErrCorrupt},
		{"large blocks", func(p *patient) { p.bytes[super+12] = 17 }, erofs.ErrCorrupt},
		{"checksum", func(p *patient) { p.bytes[super+8] |= 1 }, erofs.ErrCorrupt},
		{"directory blocks", func(p *patient) { p.bytes[super+90] = 200 }, erofs.ErrCorrupt},
		{"metadata elsewhere", func(p *patient) { p.bytes[super+43] = 1 }, erofs.ErrCorrupt},
		{"feature", func(p *patient) { p.bytes[super+83] = 1 }, erofs.ErrUnsupported},
		{"header version", func(p *patient) { p.bytes[4] = 2 }, erofs.ErrUnsupported},
		{"composefs version", func(p *patient) { p.bytes[12] = 3 }, erofs.ErrUnsupported},
		{"cut off", func(p *patient) { p.bytes = p.bytes[:len(p.bytes)-1] }, erofs.ErrCorrupt},
		{"nothing", func(p *patient) { p.bytes = nil }, erofs.ErrCorrupt},
		{"too short", func(p *patient) { p.bytes = p.bytes[:1100] }, erofs.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			c.do(p)
			if _, err := erofs.Open(bytes.NewReader(p.bytes), int64(len(p.bytes))); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestCheckComparesObjects(t *testing.T) {
	root, store := storedTree(t)
	img := imageOf(t, root, erofs.FormatV1)
	opts := erofs.CheckOptions{Objects: store, Verify: true}
	for _, p := range problems(t, img, opts) {
		t.Errorf("before: %s", p)
	}
	hosts, err := tree.Resolve(root, "etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	object := store[hosts.Digest.ObjectPath()]
	object.Data[100]++
	delete(store, "some/where")
	stub, err := tree.Resolve(root, "00/not-a-stub")
	if err != nil {
		t.Fatal(err)
	}
	store[stub.Digest.ObjectPath()] = &fstest.MapFile{Data: []byte("short")}

	kinds := func(opts erofs.CheckOptions) []string {
		var list []string
		for _, p := range problems(t, img, opts) {
			list = append(list, fmt.Sprintf("%s %s", p.Kind, p.Path))
		}
		slices.Sort(list)
		return list
	}
	want := []string{"object-digest /hardlink", "object-missing /etc/backed", "object-size /00/not-a-stub"}
	if diff := cmp.Diff(want, kinds(opts)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	opts.Verify = false
	if diff := cmp.Diff(want[1:], kinds(opts)); diff != "" {
		t.Errorf("without verifying: (-want +got)\n%s", diff)
	}
	for range img.Check(erofs.CheckOptions{Objects: store, Verify: true}) {
		break // leaves nothing behind that blocks
	}
}

func TestCheckStopsAtItsLimit(t *testing.T) {
	p := newPatient(t)
	for at := p.at("many/000-"); at < p.at("many/000-")+64*100; at += 32 {
		p.bytes[at+4] = 0xff
	}
	found := problems(t, openImage(t, p.bytes), erofs.CheckOptions{MaxProblems: 5})
	if len(found) != 6 || found[5].Kind != erofs.ProblemMore {
		t.Errorf("got %v", found)
	}
}

// Dumps often say that files have one link, however many names they have. That is worth a few
// notes, and no problem.
func TestCheckBoundsNotes(t *testing.T) {
	root := &tree.Inode{Mode: tree.TypeDir | 0o755}
	for i := range 2000 {
		n := &tree.Inode{Mode: tree.TypeRegular, Nlink: 5}
		root.Children = append(root.Children, tree.Entry{Name: fmt.Sprintf("%05d", i), Inode: n})
	}
	var notes []erofs.Problem
	for p := range imageOf(t, root, erofs.FormatV1).Check(erofs.CheckOptions{}) {
		notes = append(notes, p)
	}
	last := notes[len(notes)-1]
	if len(notes) != 11 || !last.Note || !strings.HasPrefix(last.Detail, "1990 more") {
		t.Errorf("got %d notes, the last is %v", len(notes), last)
	}
	for _, p := range notes {
		if !p.Note || p.Kind != erofs.ProblemNlink {
			t.Errorf("got %v", p)
		}
	}
}

func TestProblemAsJSON(t *testing.T) {
	for _, c := range []struct {
		problem erofs.Problem
		want    string
	}{
		{
			erofs.Problem{Kind: erofs.ProblemDirent, Path: "/a", Nid: 0, Offset: 7, Detail: "d"},
			`{"kind":"dirent","path":"/a","nid":0,"offset":7,"detail":"d"}`,
		},
		{
			erofs.Problem{Kind: erofs.ProblemChunkSpill, Nid: erofs.NoNid, Offset: -1, Detail: "d", Note: true},
			`{"kind":"chunk-spill","detail":"d","note":true}`,
		},
	} {
		got, err := json.Marshal(c.problem)
		if err != nil || string(got) != c.want {
			t.Errorf("got %s, %v, want %s", got, err, c.want)
		}
	}
}

// A table of 1024 chunks is where EROFS does not look for it, which is no error.
func TestCheckNotesSpilledChunkTables(t *testing.T) {
	digest := digestOf(t, fsverity.SHA256, nil)
	n := &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: 1 << 53, Digest: digest}
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1, Children: []tree.Entry{{Name: "f", Inode: n}}}
	var notes []erofs.Problem
	for p := range imageOf(t, root, erofs.FormatV1).Check(erofs.CheckOptions{}) {
		notes = append(notes, p)
	}
	if len(notes) != 1 || !notes[0].Note || notes[0].Kind != erofs.ProblemChunkSpill {
		t.Errorf("got %v", notes)
	}
}
