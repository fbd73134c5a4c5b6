package containersstorage_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/oci/containersstorage"
)

// configure makes a home and a place for the system's files, and returns both.
func configure(t *testing.T) (home, etc string) {
	t.Helper()
	home, etc = t.TempDir(), t.TempDir()
	for _, name := range []string{
		"CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER", "STORAGE_OPTS", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "_CONTAINERS_ROOTLESS_UID",
	} {
		t.Setenv(name, "") // so that it comes back at the end
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	containersstorage.SetSystem(t, filepath.Join(etc, "graph"), filepath.Join(etc, "storage.conf"), filepath.Join(etc, "vendor.conf"))
	return home, etc
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// at makes a storage appear at a path.
func (g *graph) at(path string) {
	g.t.Helper()
	g.must(os.MkdirAll(filepath.Dir(path), 0o755))
	g.must(os.Symlink(g.root, path))
}

func TestWhichStorage(t *testing.T) {
	g := newGraph(t)
	g.simple("localhost/a:latest")
	for name, test := range map[string]func(t *testing.T, home, etc string) containersstorage.Options{
		"root, no file": func(_ *testing.T, _, etc string) (o containersstorage.Options) {
			g.at(etc + "/graph")
			return o
		},
		"root, the administrator's file": func(t *testing.T, _, etc string) (o containersstorage.Options) {
			writeFile(t, etc+"/storage.conf", "[storage]\ndriver = \"overlay\"\ngraphroot = \""+g.root+"\"\n")
			writeFile(t, etc+"/vendor.conf", "this is no TOML")
			return o
		},
		"root, the vendor's file": func(t *testing.T, _, etc string) (o containersstorage.Options) {
			writeFile(t, etc+"/vendor.conf", "[storage]\ndriver = \"overlay\"\ngraphroot = \""+g.root+"\"\nunknown = 1\n")
			return o
		},
		"root does not look into its home": func(t *testing.T, home, etc string) (o containersstorage.Options) {
			writeFile(t, home+"/.config/containers/storage.conf", "[storage]\ngraphroot = \"/nowhere\"\n")
			g.at(etc + "/graph")
			return o
		},
		"root, driver by the environment": func(t *testing.T, _, etc string) (o containersstorage.Options) {
			writeFile(t, etc+"/storage.conf", "[storage]\ndriver = \"btrfs\"\ngraphroot = \""+g.root+"\"\n")
			t.Setenv("STORAGE_DRIVER", "overlay2")
			return o
		},
		"file by the environment": func(t *testing.T, home, _ string) (o containersstorage.Options) {
			writeFile(t, home+"/my.conf", "[storage]\ngraphroot = \""+g.root+"\"\n")
			t.Setenv("CONTAINERS_STORAGE_CONF", home+"/my.conf")
			return o
		},
		"file by options": func(t *testing.T, home, _ string) containersstorage.Options {
			writeFile(t, home+"/my.conf", "[storage]\ngraphroot = \"$HOME/$UID\"\n")
			g.at(home + "/0")
			return containersstorage.Options{Config: home + "/my.conf"}
		},
		"rootless, no file": func(t *testing.T, home, _ string) (o containersstorage.Options) {
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000")
			g.at(home + "/.local/share/containers/storage")
			return o
		},
		"rootless, data elsewhere": func(t *testing.T, home, _ string) (o containersstorage.Options) {
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000")
			t.Setenv("XDG_DATA_HOME", home+"/data")
			g.at(home + "/data/containers/storage")
			return o
		},
		"rootless, own file": func(t *testing.T, home, etc string) (o containersstorage.Options) {
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000")
			writeFile(t, etc+"/storage.conf", "[storage]\nrootless_storage_path = \"/nowhere\"\n")
			writeFile(t, home+"/.config/containers/storage.conf", "[storage]\ngraphroot = \""+g.root+"\"\n")
			return o
		},
		"rootless, own file elsewhere": func(t *testing.T, home, _ string) (o containersstorage.Options) {
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000")
			t.Setenv("XDG_CONFIG_HOME", home+"/conf")
			writeFile(t, home+"/conf/containers/storage.conf", "[storage]\nrootless_storage_path = \""+g.root+"\"\n")
			return o
		},
		"rootless, the system's place for users": func(t *testing.T, home, etc string) (o containersstorage.Options) {
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000")
			writeFile(t, etc+"/storage.conf", "[storage]\ngraphroot = \"/nowhere\"\nrootless_storage_path = \""+home+"/of/$UID\"\n"+
				"[storage.options]\nadditionalimagestores = [\"/nowhere\"]\n")
			g.at(home + "/of/1000")
			return o
		},
		"additional store by the file": func(t *testing.T, home, etc string) (o containersstorage.Options) {
			writeFile(t, etc+"/storage.conf", "[storage]\ndriver = \"overlay\"\ngraphroot = \""+home+"\"\n[storage.options]\n"+
				"additionalimagestores = [\"/nowhere\", \""+g.root+"\"]\n")
			return o
		},
		"additional store by the environment": func(t *testing.T, home, etc string) (o containersstorage.Options) {
			writeFile(t, etc+"/storage.conf", "[storage]\ndriver = \"overlay\"\ngraphroot = \""+home+"\"\n")
			t.Setenv("STORAGE_OPTS", "overlay.mountopt=nodev,overlay.imagestore="+g.root)
			return o
		},
		"imagestore": func(t *testing.T, home, etc string) (o containersstorage.Options) {
			writeFile(t, etc+"/storage.conf", "[storage]\ndriver = \"overlay\"\ngraphroot = \""+home+"\"\nimagestore = \""+g.root+"\"\n")
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			home, etc := configure(t)
			if !strings.HasPrefix(name, "rootless") {
				testenv.Root(t)
			}
			i, err := containersstorage.Open(t.Context(), "a", test(t, home, etc))
			if err != nil {
				t.Fatal(err)
			}
			_ = i.Close()
		})
	}
}

func TestNoStorage(t *testing.T) {
	empty := t.TempDir()
	for name, test := range map[string]struct {
		conf string
		opts containersstorage.Options
		want error
	}{
		"no directory":         {"", containersstorage.Options{Root: empty + "/none"}, containersstorage.ErrNoStorage},
		"an empty directory":   {"", containersstorage.Options{Root: empty}, containersstorage.ErrNoStorage},
		"a driver of none":     {"", containersstorage.Options{Root: empty, Driver: "vfs"}, containersstorage.ErrNotFound},
		"another driver":       {"", containersstorage.Options{Root: empty, Driver: "btrfs"}, containersstorage.ErrUnsupported},
		"a broken file":        {"[storage", containersstorage.Options{}, containersstorage.ErrConfig},
		"a file of other type": {"[storage]\ngraphroot = 7\n", containersstorage.Options{}, containersstorage.ErrConfig},
		"a relative root":      {"[storage]\ngraphroot = \"x\"\n", containersstorage.Options{}, containersstorage.ErrConfig},
		"no such file":         {"", containersstorage.Options{Config: empty + "/none"}, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			_, etc := configure(t)
			if test.conf != "" {
				writeFile(t, etc+"/storage.conf", test.conf)
				t.Setenv("CONTAINERS_STORAGE_CONF", etc+"/storage.conf")
			}
			if _, err := containersstorage.Open(t.Context(), "a", test.opts); !errors.Is(err, test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// The layers of an image may lie in another store than its record.
func TestLayersInAnAdditionalStore(t *testing.T) {
	below, above := newGraph(t), newGraph(t)
	archive := makeTar(t, file("a", "a"))
	layer := below.layer("", archive)
	above.image(layer, []digest.Digest{digest.FromBytes(archive)}, "localhost/a:latest")
	i, err := containersstorage.Open(t.Context(), "a", containersstorage.Options{Root: above.root, Additional: []string{below.root}})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if got, err := readAll(t, i.Layers()[0]); err != nil || len(got) != len(archive) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}
