package dumpfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/internal/treetest"
	"github.com/go-composefs/composefs/tree"
)

// peer is what mkcomposefs makes of a dump.
type peer struct {
	digest string // of the image, if it accepts the dump
	reason string // why not
	hangs  bool
}

// askPeer gives a dump to mkcomposefs. What it prints is not always text.
func askPeer(t *testing.T, dump string, strict bool) peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Peer(t, "mkcomposefs"), "--from-file", "--print-digest-only", "-")
	cmd.Stdin = strings.NewReader(dump)
	if strict {
		cmd.Env = append(os.Environ(), "CFS_PARSE_STRICT=")
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return peer{hangs: true}
	case err == nil:
		return peer{digest: strings.TrimSpace(stdout.String())}
	case !errors.As(err, new(*exec.ExitError)):
		t.Fatal(err)
	}
	return peer{reason: strings.TrimPrefix(strings.TrimSuffix(stderr.String(), "\n"), "mkcomposefs: ")}
}

// intended lists what Read refuses and the peer does not, or later and for another reason: the
// table in docs/format-dump.md.
var intended = []struct{ field, reason string }{
	{"digest", ""},
	{"", "escaped NUL character"},
	{"payload", "Directories can't be hardlinked: "},
	{"payload", "hard links in a circle"},
	{"gid", "Invalid integer"},
	{"rdev", "Invalid integer"},
	{"size", "File too large"},
	{"mtime", "nanoseconds are a second or more"},
}

func isIntended(err *dumpfile.SyntaxError) bool {
	for _, i := range intended {
		if (i.field == "" || i.field == err.Field) && strings.Contains(err.Reason, i.reason) {
			return true
		}
	}
	return false
}

// phrases are the beginnings of the peer's reasons, up to what they quote of the dump.
var phrases = []string{
	"Can't add child", "Can't have multiple roots", "Can't set xattr", "Directories can't be hardlinked",
	"Inline content size ", "Invalid . or .. in path", "Invalid content size ", "Invalid embedded NUL character",
	"Invalid empty path", "Invalid hex characters after hex escape", "Invalid integer ", "Invalid mode ",
	"Invalid payload", "Invalid symlink size ", "Invalid symlink", "Missing = in xattr", "Missing trailing newline",
	"No character after escape", "Non-zero devnum on non-device", "Symlink cannot have content",
	"No files in dump file", "No hex characters after hex escape", "No target at ", "No target path for the hardlink",
	"Parent directory missing for ", "Parent must be a directory for ", "Root must be a directory",
	"Root node not present", "Self-referential hardlink ", "Too many xattrs", "Unsupported escape type ",
}

// sameReason says whether our error has the peer's words. Of several bad hard links the peer
// reports the last one, and that a link has no target it reports after all lines.
func sameReason(err *dumpfile.SyntaxError, reason string) bool {
	if err.Reason == "No target path for the hardlink" {
		return reason != ""
	}
	unresolved := func(s string) bool {
		return strings.HasPrefix(s, "No target at ") || strings.HasPrefix(s, "Self-referential hardlink ")
	}
	if unresolved(reason) && unresolved(err.Reason) {
		return true
	}
	i := slices.IndexFunc(phrases, func(p string) bool { return strings.HasPrefix(reason, p) })
	return i >= 0 && strings.HasPrefix(err.Reason, phrases[i])
}

// compareWithPeer requires that Read takes or refuses a dump as mkcomposefs does, for the same
// reason, and that what it takes means the same: mkcomposefs makes the same image of what
// Write writes.
func compareWithPeer(t *testing.T, dump string, strict bool) {
	t.Helper()
	want := askPeer(t, dump, strict)
	root, err := dumpfile.Read(strings.NewReader(dump), dumpfile.ReadOptions{Strict: strict})
	var syntax *dumpfile.SyntaxError
	switch {
	case err == nil && want.digest != "":
		if got := askPeer(t, write(t, root), true); got.digest != want.digest {
			t.Errorf("another image: %+v, of the dump itself %+v\n%s", got, want, write(t, root))
		}
	case err == nil:
		t.Errorf("Read takes what the peer refuses: %+v", want)
	case !errors.As(err, &syntax):
		t.Errorf("error of another kind: %v", err)
	case isIntended(syntax):
	case want.reason == "" || !sameReason(syntax, want.reason):
		t.Errorf("Read: %v\npeer: %+v", err, want)
	}
	if t.Failed() {
		t.Logf("dump, strict %v:\n%q", strict, dump)
	}
}

func TestMutatedDumpsAreTakenOrRefusedAsByThePeer(t *testing.T) {
	testenv.Peer(t, "mkcomposefs")
	runs := uint64(60)
	if s := os.Getenv("COMPOSEFS_FUZZ_RUNS"); s != "" {
		var err error
		if runs, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("COMPOSEFS_FUZZ_RUNS: %v", err)
		}
	}
	for seed := range runs {
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			m := mutator{rand.New(rand.NewPCG(seed, 3))}
			compareWithPeer(t, m.dump(t), m.IntN(4) == 0)
		})
		if !ok {
			return
		}
	}
}

func TestDumpsOfThePeerAreFixedPoints(t *testing.T) {
	info := testenv.Peer(t, "composefs-info")
	for seed := range uint64(10) {
		root := treetest.Random(rand.New(rand.NewPCG(seed, 4)), treetest.Options{Peer: true, Plain: true})
		for _, e := range tree.Walk(root) {
			n := e.Inode
			n.Backing = (n.Backing + "xxx")[:min(len(n.Backing)+3, tree.MaxTarget)&^3] // it garbles other lengths
			n.Xattrs = n.Xattrs[:min(len(n.Xattrs), 1)]                                // they come in another order
			for _, name := range []string{"user.", "security.", "trusted.", "system.posix_acl_access", "system.posix_acl_default"} {
				n.RemoveXattr(name) // it loses some
			}
		}
		image := filepath.Join(t.TempDir(), "image")
		cmd := exec.Command(testenv.Peer(t, "mkcomposefs"), "--from-file", "-", image)
		cmd.Stdin = strings.NewReader(write(t, root))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("seed %d: %v: %s", seed, err, out)
		}
		out, err := exec.Command(info, "dump", image).Output()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want, got := string(out), write(t, read(t, string(out))); want != got {
			t.Fatalf("seed %d (-composefs-info +Write)\n%.3000s", seed, cmp.Diff(strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")))
		}
	}
}
