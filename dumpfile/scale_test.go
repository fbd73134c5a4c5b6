package dumpfile_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
)

// pipe returns what produce writes as it is read: the dumps here are too large to hold.
func pipe(t testing.TB, produce func(w *bufio.Writer)) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = r.Close() })
	go func() {
		buffered := bufio.NewWriterSize(w, 1<<16)
		produce(buffered)
		w.CloseWithError(buffered.Flush())
	}()
	return r
}

// These tests end in seconds, or in minutes if some work grows with the square of the input.

func TestDeepDirectoriesTakeNoSquareOfTime(t *testing.T) {
	depth := 20_000
	if testing.Short() {
		depth = 3_000
	}
	produce := func(w io.Writer) {
		fmt.Fprint(w, rootLine)
		path := []byte(nil)
		for range depth {
			path = append(path, "/d"...)
			fmt.Fprintf(w, "%s 0 40755 1 0 0 0 0.0 - - -\n", path)
		}
	}
	root, err := dumpfile.Read(pipe(t, func(w *bufio.Writer) { produce(w) }), dumpfile.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	digest := func(writeTo func(w io.Writer)) string {
		h := sha256.New()
		writeTo(h)
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	got := digest(func(w io.Writer) {
		if err := dumpfile.Write(w, root, dumpfile.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	if got != digest(produce) {
		t.Error("the dump changes")
	}
}

func TestDeepNeighboursTakeNoSquareOfTime(t *testing.T) {
	// Two deep directories that differ only half way, and files in turns in both.
	const half = 1000
	above, below := strings.Repeat("/d", half), strings.Repeat("/e", half)
	lines := 2000
	root, err := dumpfile.Read(pipe(t, func(w *bufio.Writer) {
		fmt.Fprint(w, rootLine)
		dir := func(path string) { fmt.Fprintf(w, "%s 0 40755 1 0 0 0 0.0 - - -\n", path) }
		for i := range half {
			dir(above[:2*i+2])
		}
		for _, name := range []string{"/1", "/2"} {
			dir(above + name)
			for i := range half {
				dir(above + name + below[:2*i+2])
			}
		}
		for i := range lines {
			fmt.Fprintf(w, "%s/%d%s/%d 0 100644 1 0 0 0 0.0 - - -\n", above, 1+i%2, below, i)
		}
	}), dumpfile.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out countWriter
	if err := dumpfile.Write(&out, root, dumpfile.WriteOptions{}); err != nil || out < countWriter(lines*4*half) {
		t.Errorf("%d bytes, %v", out, err)
	}
}

func TestLargeDirectoriesOutOfOrder(t *testing.T) {
	const files = 100_000
	lines := make([]string, files)
	for i := range lines {
		lines[i] = fmt.Sprintf("/%06d 0 100644 1 0 0 0 0.0 - - -\n", i)
	}
	want := rootLine + strings.Join(lines, "")
	for name, shuffle := range map[string]func(){
		"backwards": func() { slices.Reverse(lines) },
		"shuffled": func() {
			rand.New(rand.NewPCG(1, 1)).Shuffle(files, func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		},
	} {
		shuffle()
		if got := write(t, read(t, rootLine+strings.Join(lines, ""))); got != want {
			t.Errorf("%s: the dump is another", name)
		}
		_, err := dumpfile.Read(strings.NewReader(rootLine+strings.Join(lines, "")+lines[7]), dumpfile.ReadOptions{})
		if want := fmt.Sprintf("dump:%d: path: Can't add child: %s exists already", files+2, lines[7][:7]); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestLongChainsOfHardLinks(t *testing.T) {
	const links = 100_000
	var dump bytes.Buffer
	dump.WriteString(rootLine)
	for i := range links {
		fmt.Fprintf(&dump, "/%06d 0 @100644 1 0 0 0 0.0 /%06d - -\n", i, i+1)
	}
	fmt.Fprintf(&dump, "/%06d 0 100644 %d 0 0 0 0.0 - - -\n", links, links+1)
	root := read(t, dump.String())
	file := root.Lookup(fmt.Sprintf("%06d", links))
	for _, e := range root.Children {
		if e.Inode != file || e.Link != (e.Name != fmt.Sprintf("%06d", links)) {
			t.Fatalf("%s leads to another file", e.Name)
		}
	}
}

func TestManyDifferentAttributes(t *testing.T) {
	// More than the table of repeated strings holds, and the most that one file can have,
	// in the worst order.
	var dump bytes.Buffer
	dump.WriteString(rootLine)
	for i := range 20_000 {
		fmt.Fprintf(&dump, "/%05d 0 100644 1 0 0 0 0.0 - - - security.selinux=label user.different=%d\n", i, i)
	}
	dump.WriteString("/many 0 100644 1 0 0 0 0.0 - - -")
	for i := 2500; i >= 0; i-- {
		fmt.Fprintf(&dump, " k%04d=", i)
	}
	dump.WriteString("\n")
	root := read(t, dump.String())
	for i, e := range root.Children[:20_000] {
		if v, _ := e.Inode.Xattr("user.different"); v != fmt.Sprint(i) {
			t.Fatalf("%s has %q", e.Name, v)
		}
	}
	if many := root.Lookup("many"); len(many.Xattrs) != 2501 || many.Xattrs[7].Name != "k0007" {
		t.Errorf("%d attributes, the eighth is %q", len(many.Xattrs), many.Xattrs[7].Name)
	}
}
