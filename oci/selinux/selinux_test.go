package selinux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

func mustPolicy(t testing.TB, s Source) *Policy {
	t.Helper()
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLabels(t *testing.T) {
	p := mustPolicy(t, Source{
		FileContexts: `
# a comment, of any words
/.*                       any
/usr/bin(/.*)?            bin
/usr/bin/[^/]+-daemon  -- daemon
/usr/bin/exact            exact
/usr/bin/.*            -l link
/usr/lib/(?!modules).*    lib
/usr/lib/a*+b             possessive
/run/.*                   <<none>>
/end$                     never
/or|/other                alternative
/a.b                      dot
/[é]                      set
/\w+/\d{2,3}              perl
/ma.*                     early
/ma.*                     late
`,
		Local:    "/local local\n/home homeless\n",
		Homedirs: "/home home\n",
		SubsDist: "/lib64 /usr/lib\n/bin /nowhere\n/sbin /usr/bin\n",
		Subs:     "/bin /usr/bin\n",
	})
	for _, test := range []struct {
		path string
		kind byte
		want string
	}{
		{"/", 'd', "any"},
		{"/x", '-', "any"},
		{"/usr/bin", 'd', "bin"},
		{"/usr/binary", '-', "any"},
		{"/usr/bin/x", '-', "bin"},
		{"/usr/bin/x-daemon", '-', "daemon"},
		{"/usr/bin/x-daemon", 'd', "bin"},
		{"/usr/bin/d/x-daemon", '-', "bin"},
		{"/usr/bin/exact", '-', "exact"},
		{"/usr/bin/exact", 'l', "link"},
		{"/usr/lib/modules/1", '-', "any"},
		{"/usr/lib/mod", '-', "lib"},
		{"/usr/lib/aaab", '-', "possessive"},
		{"/run/x", 's', ""},
		{"/run", 'd', "any"},
		{"/end", '-', "any"},
		{"/or", '-', "alternative"},
		{"/a\nb", '-', "dot"},
		{"/a\xffb", '-', "dot"},
		{"/aéb", '-', "any"}, // two bytes
		{"/\xc3", '-', "set"},
		{"/é", '-', "any"},
		{"/x/123", '-', "perl"},
		{"/x/1234", '-', "any"},
		{"/mat", '-', "late"},
		{"/local", '-', "local"},
		{"/home", 'd', "home"},
		{"/lib64", 'd', "any"}, // as /usr/lib
		{"/sbin", 'd', "bin"},
		{"/bin", 'l', "bin"},
	} {
		got, err := p.Label(test.path, test.kind)
		if err != nil || got != test.want {
			t.Errorf("%s %c: %q, %v, want %q", test.path, test.kind, got, err, test.want)
		}
	}
}

func TestBadPolicies(t *testing.T) {
	for name, test := range map[string]struct {
		source Source
		want   error
		text   string
	}{
		"one field":      {Source{FileContexts: "\n/a\n"}, ErrPolicy, "file_contexts line 2: bad SELinux policy: 1 fields, want an expression, perhaps a type, and a label"},
		"four fields":    {Source{Local: "/a -- b c"}, ErrPolicy, ""},
		"type":           {Source{FileContexts: "/a -x b"}, ErrPolicy, `file_contexts line 1: bad SELinux policy: "-x" is no type of file`},
		"long type":      {Source{FileContexts: "/a --- b"}, ErrPolicy, ""},
		"no type":        {Source{Homedirs: "/a d b"}, ErrPolicy, ""},
		"expression":     {Source{FileContexts: "/a( b"}, ErrPolicy, ""},
		"substitution":   {Source{SubsDist: "/a"}, ErrPolicy, "file_contexts.subs_dist line 1: bad SELinux policy: 1 fields, want two paths"},
		"substitution 3": {Source{Subs: "/a b c"}, ErrPolicy, ""},
		"large file":     {Source{FileContexts: strings.Repeat("#\n", maxFile)}, ErrLimit, ""},
		"long":           {Source{FileContexts: strings.Repeat("a", maxPattern+1) + " b"}, ErrLimit, ""},
		"many":           {Source{FileContexts: strings.Repeat("a b\n", maxSpecs+1)}, ErrLimit, ""},
		"many subs":      {Source{Subs: numbered(maxSpecs + 1)}, ErrLimit, ""},
		"repetitions":    {Source{FileContexts: strings.Repeat("(([ab]?){30}){33} b\n", 3000)}, ErrLimit, ""},
		"looking around": {Source{FileContexts: strings.Repeat("(?=a)b c\n", maxSlow+1)}, ErrLimit, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && (name == "repetitions" || name == "many") {
				t.Skip("takes a second")
			}
			_, err := New(test.source)
			if !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("error %v", err)
			}
		})
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/%d /\n", i)
	}
	return b.String()
}

func file(content string) *tree.Inode {
	return &tree.Inode{Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(content)), Content: []byte(content)}
}

// treeOf makes a tree of the paths of files, and directories for them.
func treeOf(t testing.TB, files map[string]*tree.Inode) *tree.Inode {
	t.Helper()
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
	for path, n := range files {
		dir := root
		names := strings.Split(path, "/")
		for _, name := range names[:len(names)-1] {
			next := dir.Lookup(name)
			if next == nil {
				next = &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 1}
				if err := dir.Add(tree.Entry{Name: name, Inode: next}); err != nil {
					t.Fatal(err)
				}
			}
			dir = next
		}
		if err := dir.Add(tree.Entry{Name: names[len(names)-1], Inode: n}); err != nil {
			t.Fatal(err)
		}
	}
	tree.SettleLinks(root)
	return root
}

// labels lists the labels of a tree; of further links it says whose they are.
func labels(root *tree.Inode) map[string]string {
	list := map[string]string{}
	first := map[*tree.Inode]string{}
	for path, e := range tree.Walk(root) {
		if e.Link {
			list[string(path)] = "= " + first[e.Inode]
			continue
		}
		first[e.Inode] = string(path)
		list[string(path)], _ = e.Inode.Xattr(Attribute)
	}
	return list
}

func TestRelabel(t *testing.T) {
	linked, old := file("x"), file("y")
	linked.Nlink = 6
	old.SetXattr(Attribute, "old")
	root := treeOf(t, map[string]*tree.Inode{
		"d/a": linked, "d/b": linked, "d/c": linked, "d/d": linked, "d/e": linked, "d/f": linked, "old": old,
		"lib64/x/y": file(""), "lib64/z": {Mode: tree.TypeSocket, Nlink: 1}, "alias/in/x": file(""), "up/usr": file(""),
	})
	p := mustPolicy(t, Source{
		FileContexts: "/ -d root\n/d/[acf] A\n/d/b B\n/d/d B\n/usr/lib/.* lib\n/usr/lib/z -s socket\n/here/x here\n/usr all\n/alias/.* no\n",
		SubsDist:     "/lib64 /usr/lib\n/alias /usr/lib\n/usr/lib/in /here/\n/up /\n",
	})
	if err := p.Relabel(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/": "root", "/d": "", "/d/a": "A", "/d/b": "B", "/d/c": "= /d/a", "/d/d": "B", "/d/e": "", "/d/f": "= /d/a", "/old": "",
		"/lib64": "", "/lib64/x": "lib", "/lib64/x/y": "lib", "/lib64/z": "socket",
		"/alias": "", "/alias/in": "", "/alias/in/x": "here", "/up": "root", "/up/usr": "all",
	}
	if diff := cmp.Diff(want, labels(root)); diff != "" {
		t.Error(diff)
	}
	if got := []uint32{linked.Nlink, root.Lookup("d").Lookup("b").Nlink}; got[0] != 3 || got[1] != 1 {
		t.Errorf("%d links", got)
	}
	RemoveLabels(root)
	for path, label := range labels(root) {
		if label != "" && label[0] != '=' {
			t.Errorf("%s: %q", path, label)
		}
	}
}

// opener holds one object.
type opener struct{ content string }

func (o opener) OpenObject(*tree.Inode) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(o.content)), nil
}

func TestLoad(t *testing.T) {
	const dir = "etc/selinux/mls/contexts/files/file_contexts"
	config := file("# SELINUXTYPE=other\nSELINUX=enforcing\n SelinuxType = mls \nSELINUXTYPE=late\n")
	large := strings.Repeat("# a comment\n", 1000) + "/a large\n"
	digest, err := fsverity.Sum(fsverity.SHA256, []byte(large))
	if err != nil {
		t.Fatal(err)
	}
	external := &tree.Inode{Mode: tree.TypeRegular, Nlink: 1, Size: uint64(len(large)), Digest: digest}
	link := &tree.Inode{Mode: tree.TypeSymlink, Nlink: 1, Target: "x"}
	huge := &tree.Inode{Mode: tree.TypeRegular, Nlink: 1, Size: 1 << 40, Digest: digest}
	for name, test := range map[string]struct {
		files   map[string]*tree.Inode
		objects tree.Opener
		want    string // label of /a
		err     error
	}{
		"nothing":         {map[string]*tree.Inode{"a": file("")}, nil, "", ErrNoPolicy},
		"no config":       {map[string]*tree.Inode{dir: file("")}, nil, "", ErrNoPolicy},
		"not a directory": {map[string]*tree.Inode{"etc": file("")}, nil, "", ErrNoPolicy},
		"no type":         {map[string]*tree.Inode{"etc/selinux/config": file("SELINUX=disabled\n")}, nil, "", ErrNoPolicy},
		"empty type":      {map[string]*tree.Inode{"etc/selinux/config": file("SELINUXTYPE=\n")}, nil, "", ErrPolicy},
		"type is a path":  {map[string]*tree.Inode{"etc/selinux/config": file("SELINUXTYPE=../x\n")}, nil, "", ErrPolicy},
		"config is link":  {map[string]*tree.Inode{"etc/selinux/config": link}, nil, "", ErrPolicy},
		"no contexts":     {map[string]*tree.Inode{"etc/selinux/config": config}, nil, "", ErrPolicy},
		"huge":            {map[string]*tree.Inode{"etc/selinux/config": config, dir: huge}, nil, "", ErrLimit},
		"local is a link": {map[string]*tree.Inode{"etc/selinux/config": config, dir: file(""), dir + ".local": link}, nil, "", ErrPolicy},
		"short object":    {map[string]*tree.Inode{"etc/selinux/config": config, dir: external}, opener{large[:100]}, "", io.ErrUnexpectedEOF},
		"small":           {map[string]*tree.Inode{"etc/selinux/config": config, dir: file("/a small")}, nil, "small", nil},
		"large":           {map[string]*tree.Inode{"etc/selinux/config": config, dir: external}, opener{large}, "large", nil},
		"all files": {map[string]*tree.Inode{
			"etc/selinux/config": config, dir: file("/a 1"), dir + ".local": file("/a 2\n"), dir + ".homedirs": file("/b 3\n"),
			dir + ".subs": file("/a /b\n"), dir + ".subs_dist": file("/a /c\n"),
		}, nil, "3", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(t.Context(), treeOf(t, test.files), test.objects)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			if got, err := p.Label("/a", '-'); err != nil || got != test.want {
				t.Errorf("label %q, %v", got, err)
			}
		})
	}
}

func TestRelabelGivesUp(t *testing.T) {
	root := treeOf(t, map[string]*tree.Inode{strings.Repeat("a", 200): file(""), "x/y": file("")})
	if err := mustPolicy(t, Source{FileContexts: "/(?=a)(((a+)+)+)+b label"}).Relabel(t.Context(), root); !errors.Is(err, ErrLimit) {
		t.Errorf("an expression without end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := mustPolicy(t, Source{FileContexts: "/a label"}).Relabel(ctx, root); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	deep := &tree.Inode{Mode: tree.TypeDir}
	at := deep
	for range maxPath / 255 {
		next := &tree.Inode{Mode: tree.TypeDir}
		at.Children = []tree.Entry{{Name: strings.Repeat("d", 255), Inode: next}}
		at = next
	}
	if err := mustPolicy(t, Source{FileContexts: "/a label"}).Relabel(t.Context(), deep); !errors.Is(err, ErrLimit) {
		t.Errorf("deep: %v", err)
	}
}

// The automaton forgets, and goes on with the same results.
func TestAutomatonForgets(t *testing.T) {
	var specs bytes.Buffer
	for i := range 60 {
		fmt.Fprintf(&specs, "/.*%d.*x.?.?.? label%d\n", i, i)
	}
	p := mustPolicy(t, Source{FileContexts: specs.String()})
	files := map[string]*tree.Inode{}
	for i := range 500 {
		files[fmt.Sprintf("%d/%d%d%d", i%7, i*i, i, i%13)] = file("")
		files[fmt.Sprintf("%d/%d%dx%d", i%7, i*i, i, i%13)] = file("")
	}
	root := treeOf(t, files)
	cachedOf := map[int]int{}
	relabel := func(cached int) map[string]string {
		l, err := p.labeler()
		if err != nil {
			t.Fatal(err)
		}
		l.maxCached = cached
		l.ctx, l.first, l.path = t.Context(), map[*tree.Inode]bool{}, []byte("/")
		at, err := l.run(l.start, "/")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.directory(root, at); err != nil {
			t.Fatal(err)
		}
		cachedOf[cached] = l.cached
		return labels(root)
	}
	if diff := cmp.Diff(relabel(1<<20), relabel(2000)); diff != "" {
		t.Error(diff)
	}
	if cachedOf[1<<20] < 4000 || cachedOf[2000] > 2000 {
		t.Errorf("cached are %v", cachedOf)
	}
}

func TestWorkIsLimited(t *testing.T) {
	p := mustPolicy(t, Source{FileContexts: strings.Repeat("/.*a.{50,100}b.* label\n", 1000)})
	l, err := p.labeler()
	if err != nil {
		t.Fatal(err)
	}
	l.work = 100_000
	if _, err := l.run(l.start, "/"+strings.Repeat("a", 200)); !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
}
