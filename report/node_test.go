package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// makeTree makes a tree of files, each with a content and a size.
func makeTree(t *testing.T, files ...string) *tree.Inode {
	t.Helper()
	root := &tree.Inode{Mode: tree.TypeDir | 0o755}
	linked := map[string]*tree.Inode{}
	for _, line := range files {
		var path, content string
		var size uint64
		if _, err := fmt.Sscan(line, &path, &content, &size); err != nil {
			t.Fatal(err)
		}
		digest, err := fsverity.Sum(fsverity.SHA256, []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		n := &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: size, Digest: digest}
		if name, ok := strings.CutPrefix(content, "@"); ok {
			n = linked[name]
		}
		linked[path] = n
		dir, parts := root, strings.Split(path, "/")
		for _, name := range parts[:len(parts)-1] {
			next := dir.Lookup(name)
			if next == nil {
				next = &tree.Inode{Mode: tree.TypeDir | 0o755}
				if err := dir.Add(tree.Entry{Name: name, Inode: next}); err != nil {
					t.Fatal(err)
				}
			}
			dir = next
		}
		if err := dir.Add(tree.Entry{Name: parts[len(parts)-1], Inode: n, Link: strings.HasPrefix(content, "@")}); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// lines prints nodes: path, kind, stored, exclusive, files.
func (n *Node) lines(indent string) []string {
	list := []string{fmt.Sprintf("%s%s %s %d %d %d", indent, n.Name, n.Kind, n.Stored, n.Exclusive, n.Files)}
	for _, c := range n.Children {
		list = append(list, c.lines(indent+" ")...)
	}
	return list
}

func TestNodesAddUpToWhatIsStored(t *testing.T) {
	root := makeTree(t, "a/b/c/large large 5000", "a/b/c/own own 3000", "a/copy large 5000", "a/again @a/copy 0", "b/tiny t 1",
		"b/tiny2 u 2", "b/mid m 400", "z small 3")
	large, err := fsverity.Sum(fsverity.SHA256, []byte("large"))
	if err != nil {
		t.Fatal(err)
	}
	got := newNode(root, 700, 5000+3000+1+2+400+3+700, func(d fsverity.Digest) bool { return d != large }).lines("")
	want := []string{
		"/ d 9106 4106 7",
		" a/b/c d 8000 3000 3",
		"  large f 5000 0 1",
		"  own f 3000 3000 1",
		" the image itself m 700 700 0",
		" b d 403 403 3",
		"  mid f 400 400 1",
		"   s 3 3 2",
		"  s 3 3 1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeepAndWideTreesStaySmall(t *testing.T) {
	var files []string
	for i := range 300 {
		files = append(files, fmt.Sprintf("%sf%d content%d 100", strings.Repeat("d/", i), i, i), fmt.Sprintf("wide/%d wide%d 1000", i, i))
	}
	n := newNode(makeTree(t, files...), 100, 300*1100+100, func(fsverity.Digest) bool { return true })
	if n.Stored != 300*1100+100 || n.Files != 600 {
		t.Errorf("%d bytes in %d files", n.Stored, n.Files)
	}
	if got := len(n.lines("")); got > 300 {
		t.Errorf("%d nodes", got)
	}
	depth := 0
	for at := n; len(at.Children) > 0; depth++ {
		at = at.Children[0]
		for _, c := range at.Children {
			if strings.HasPrefix(c.Name, "d") {
				at = c
			}
		}
	}
	if depth > maxDepth {
		t.Errorf("depth %d", depth)
	}
}
