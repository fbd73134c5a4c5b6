//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReplaceTableKeepsWhatIsAround(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const tableBegin, tableEnd = "<!-- bench: begin images -->\n", "<!-- bench: end images -->\n"
	write("before\n" + tableBegin + "old\n" + tableEnd + "after\n")
	for range 2 {
		if err := replaceTable(file, "images", "new"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("before\n"+tableBegin+"\nnew\n"+tableEnd+"after\n", string(got)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	write("no markers\n")
	if err := replaceTable(file, "images", "new"); err == nil {
		t.Error("a document without markers was accepted")
	}
}

func TestSameInputEveryTime(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b} {
		if err := writeDump(path+".dump", 500); err != nil {
			t.Fatal(err)
		}
		if err := writeTree(path, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := sameFile(a+".dump", b+".dump"); err != nil {
		t.Error(err)
	}
	if err := sameStore(a, b); err != nil {
		t.Error(err)
	}
	dump, err := os.ReadFile(a + ".dump")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, c := range dump {
		if c == '\n' {
			lines++
		}
	}
	if lines != 500 {
		t.Errorf("%d entries, want 500", lines)
	}
}

func TestSameFileSeesOneByte(t *testing.T) {
	dir := t.TempDir()
	content := make([]byte, 200_000)
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) {
		if err := os.WriteFile(path(name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", content)
	write("same", content)
	write("shorter", content[:len(content)-1])
	content[150_000] = 1
	write("changed", content)
	write("empty", nil)
	if err := sameFile(path("a"), path("same")); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"shorter", "changed", "empty"} {
		if sameFile(path("a"), path(other)) == nil || sameFile(path(other), path("a")) == nil {
			t.Errorf("%s passes as the same", other)
		}
	}
	if sameFile(path("empty"), path("empty")) == nil {
		t.Error("nothing passes as an output")
	}
}

func TestMedianOfAnyNumberOfRuns(t *testing.T) {
	r := result{samples: []sample{{wall: 5}, {wall: 1}, {wall: 3}}}
	if got := r.median(); got != 3 {
		t.Errorf("median of 5, 1, 3 is %d", got)
	}
	r.samples = append(r.samples, sample{wall: 100 * time.Nanosecond})
	if got := r.median(); got != 4 {
		t.Errorf("median of 5, 1, 3, 100 is %d", got)
	}
}
