package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary answer to the program's names as well.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"composefs":       main,
		"mkcomposefs":     main,
		"composefs-info":  main,
		"mount.composefs": main,
		"ociimage":        ociimage,
	})
}

// TestScripts runs testdata/script/*.txtar. Besides what testscript has itself, scripts can ask
// for [root] and [mount], root that may mount in a mount namespace of its own, find shared files in
// $FIXTURES and a registry at $REGISTRY, and make container images with ociimage.
func TestScripts(t *testing.T) {
	fixtures, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"COMPOSEFS_PEERS", "COMPOSEFS_REQUIRE"} {
				env.Setenv(name, os.Getenv(name))
			}
			env.Setenv("FIXTURES", fixtures)
			startTestRegistry(env)
			env.Setenv("COMPOSEFS_REPO", "no-repo") // never the machine's
			env.Setenv("TZ", "America/St_Johns")    // no output depends on it
			return nil
		},
		Condition: condition,
	})
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return required("root", os.Geteuid() == 0)
	case "mount":
		can := exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/tmp").Run() == nil
		return required("root", os.Geteuid() == 0 && can)
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// required is what testenv.Missing does: what COMPOSEFS_REQUIRE names may not be missing.
func required(part string, there bool) (bool, error) {
	if !there && slices.Contains(strings.Split(os.Getenv("COMPOSEFS_REQUIRE"), ","), part) {
		return false, fmt.Errorf("%s is required here, and missing", part)
	}
	return there, nil
}
