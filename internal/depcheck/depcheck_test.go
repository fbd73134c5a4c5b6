package depcheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/go-composefs/composefs"

// A row is a line of the layout. Its packages may import those of the rows above it in this
// table, and nothing of their own row or below.
type row struct {
	packages []string // relative to the module; "dir/..." means all below dir
	inside   []string // imports of the own row that are meant: "importer imported"
	never    []string // imports of earlier rows that are not meant: "importer imported"
	modules  []string // what may be linked besides what the earlier rows may link
}

var rows = []row{
	{
		packages: []string{"internal/..."},
		inside:   []string{"internal/atomicfile internal/linux"},
		modules:  []string{"golang.org/x/sys"},
	},
	{packages: []string{"fsverity"}, modules: []string{"golang.org/x/sync"}},
	{packages: []string{"tree"}},
	{packages: []string{"internal/treetest"}},
	{
		packages: []string{"erofs", "dumpfile", "objects", "splitstream"},
		modules:  []string{"github.com/klauspost/compress"},
	},
	{packages: []string{"layer"}},
	{packages: []string{"repository"}, modules: []string{"golang.org/x/time"}},
	{packages: []string{"report"}},
	{
		packages: []string{"oci/manifest"},
		modules:  []string{"github.com/opencontainers/image-spec", "github.com/opencontainers/go-digest"},
	},
	{
		packages: []string{"oci/compress", "oci/transport", "oci/seal", "oci/tardiff", "oci/selinux", "oci/containersstorage"},
		// None of them knows repositories: package oci brings them together.
		never: []string{
			"oci/compress repository", "oci/transport repository", "oci/seal repository", "oci/tardiff repository",
			"oci/selinux repository", "oci/containersstorage repository",
		},
		modules: []string{
			"github.com/BurntSushi/toml", "github.com/dlclark/regexp2/v2",
			"github.com/google/go-containerregistry", "github.com/docker/cli", "github.com/docker/docker-credential-helpers",
			"github.com/sirupsen/logrus", "github.com/klauspost/pgzip", "github.com/vbatts/tar-split",
		},
	},
	{packages: []string{"oci/policy"}, never: []string{"oci/policy repository"}},
	{packages: []string{"oci/flatten"}, never: []string{"oci/flatten repository"}},
	{packages: []string{"oci"}, never: []string{"oci report"}},
	{packages: []string{"internal/faultyregistry"}},
	{
		packages: []string{"mount"},
		// A mount is made from open files: whoever holds a store and a tree opens them.
		never: []string{
			"mount tree", "mount dumpfile", "mount objects", "mount splitstream", "mount layer", "mount repository",
			"mount report", "mount oci/...",
		},
	},
	// What is shown on a terminal is the command's business, not the libraries'.
	{packages: []string{"internal/progress"}, modules: []string{"golang.org/x/term"}},
	{
		packages: []string{"cmd/...", "test/..."},
		modules: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag",
			"github.com/inconshreveable/mousetrap",
		},
	},
}

// goPackage is what `go list -json` says of a package, as far as it is of interest.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

// list returns the module's packages and everything they link, by import path.
func list(t *testing.T, goos string) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Module", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	packages := map[string]goPackage{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages[p.ImportPath] = p
	}
}

func TestImportsGoDownTheRows(t *testing.T) {
	openSources(t)
	for _, goos := range []string{"linux", "darwin"} {
		for _, problem := range check(rows, list(t, goos)) {
			t.Errorf("%s: %s", goos, problem)
		}
	}
}

// openSources looks into every directory of the module: the go command takes the result of a test
// from its cache unless something changes that the test itself, not a child of it, has opened.
func openSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == ".git" || path == "../../build") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// check returns one sentence for each broken rule, sorted.
func check(rows []row, packages map[string]goPackage) []string {
	var problems []string
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		importer, ours := relative(path)
		if !ours {
			continue
		}
		at := rowOf(rows, importer)
		if at < 0 {
			report("%s is in no row: give it its place here and in DESIGN.md", importer)
			continue
		}
		for _, path := range packages[path].Imports {
			imported, ours := relative(path)
			if !ours {
				continue
			}
			to := rowOf(rows, imported)
			switch {
			case to > at:
				report("%s imports %s, which is higher up", importer, imported)
			case to == at && !lists(rows[at].inside, importer, imported):
				report("%s imports %s of its own row", importer, imported)
			case lists(rows[at].never, importer, imported):
				report("%s imports %s, which it must not know", importer, imported)
			}
		}
		linked := map[string]bool{}
		for _, dep := range packages[path].Deps {
			if m := packages[dep].Module; m != nil && m.Path != module {
				linked[m.Path] = true
			}
		}
		for _, m := range slices.Sorted(maps.Keys(linked)) {
			if !slices.ContainsFunc(rows[:at+1], func(r row) bool { return slices.Contains(r.modules, m) }) {
				report("%s links %s", importer, m)
			}
		}
	}
	return problems
}

// relative returns the path of a package of this module below it.
func relative(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// rowOf returns the index of the package's row, or -1. A row that names it goes before one
// that has it in a pattern.
func rowOf(rows []row, pkg string) int {
	named := slices.IndexFunc(rows, func(r row) bool { return slices.Contains(r.packages, pkg) })
	if named >= 0 {
		return named
	}
	return slices.IndexFunc(rows, func(r row) bool {
		return slices.ContainsFunc(r.packages, func(pattern string) bool { return matches(pattern, pkg) })
	})
}

// lists says whether "importer imported" is one of pairs.
func lists(pairs []string, importer, imported string) bool {
	return slices.ContainsFunc(pairs, func(pair string) bool {
		from, to, _ := strings.Cut(pair, " ")
		return matches(from, importer) && matches(to, imported)
	})
}

func matches(pattern, pkg string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == dir || strings.HasPrefix(pkg, dir+"/")
	}
	return pattern == pkg
}

func TestCheckSeesEachFault(t *testing.T) {
	rows := []row{
		{packages: []string{"internal/..."}, modules: []string{"example.org/sys"}},
		{packages: []string{"low"}},
		{packages: []string{"a", "b", "c"}, inside: []string{"a b"}, never: []string{"c low"}},
		{packages: []string{"cmd/..."}, modules: []string{"example.org/cli"}},
	}
	pkg := func(path string, imports ...string) goPackage {
		for i, im := range imports {
			if !strings.Contains(im, ".") {
				imports[i] = module + "/" + im
			}
		}
		return goPackage{ImportPath: module + "/" + path, Imports: imports, Deps: imports}
	}
	outside := func(path string) goPackage {
		return goPackage{ImportPath: path, Module: &struct{ Path string }{path}}
	}
	packages := map[string]goPackage{}
	for _, p := range []goPackage{
		pkg("internal/x", "low"),
		pkg("low", "internal/x", "example.org/sys"),
		pkg("a", "b", "low", "example.org/cli"),
		pkg("b", "a", "cmd/tool"),
		pkg("c", "low"),
		pkg("cmd/tool", "a", "example.org/cli", "example.org/sys"),
		pkg("new"),
		outside("example.org/sys"), outside("example.org/cli"),
	} {
		packages[p.ImportPath] = p
	}
	want := []string{
		"a links example.org/cli",
		"b imports a of its own row",
		"b imports cmd/tool, which is higher up",
		"c imports low, which it must not know",
		"internal/x imports low, which is higher up",
		"new is in no row: give it its place here and in DESIGN.md",
	}
	if diff := cmp.Diff(want, check(rows, packages)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
