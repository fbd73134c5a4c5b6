package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/linux"
	"github.com/go-composefs/composefs/internal/testenv"
)

// listed returns what List says of one mount.
func listed(t testing.TB, target string) Info {
	t.Helper()
	infos, err := List()
	if err != nil {
		t.Fatal(err)
	}
	for i := len(infos) - 1; i >= 0; i-- {
		if infos[i].Target == target {
			return infos[i]
		}
	}
	t.Fatalf("%s is not among the composefs mounts", target)
	return Info{}
}

// digest computes that of the image.
func (f fixture) digest(t testing.TB) fsverity.Digest {
	t.Helper()
	image, err := os.ReadFile(f.image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := fsverity.Sum(fsverity.SHA256, image)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestListReadsBackWhatWasMounted(t *testing.T) {
	f := newFixture(t, small)
	byFD := Probe(nil).Get(CapLayerFD).Answer == Yes
	second := f.dir + "/with, comma: and\\ \t\n"
	mkdir(t, second)
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.ways = way.ways
			opts.Digest, opts.AllowComputed = f.digest(t), true
			target, _ := mountHere(t, opts)
			got := listed(t, target)
			want := Info{
				Target: target, Image: f.image, Digest: f.digest(t), DigestOrigin: DigestComputed,
				Objects: []string{f.store}, Verity: "off", ReadOnly: true,
				ID: got.ID, Source: got.Source, Options: got.Options,
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := json.Marshal(got); err != nil {
				t.Error(err)
			}
		})
		t.Run(way.name+", odd store", func(t *testing.T) {
			opts := f.options(t)
			opts.ways = way.ways
			opts.Objects = append(opts.Objects, open(t, second, unix.O_PATH))
			target, _ := mountHere(t, opts)
			same(t, f.source, target)
			got := listed(t, target)
			if byFD && !way.ways.noLayerFD && !way.ways.noMountAPI {
				if diff := cmp.Diff([]string{f.store, second}, got.Objects); diff != "" {
					t.Error(diff)
				}
				return
			}
			// These ways pass such a name as a descriptor.
			if diff := cmp.Diff([]string{"digest", "objects"}, got.Unknown); diff != "" || got.Objects != nil {
				t.Errorf("%q, %s", got.Objects, diff)
			}
		})
	}
}

func TestVeryLongPathsCanBeMounted(t *testing.T) {
	f := newFixture(t, small)
	dir := workDir(t) + "/" + strings.Repeat(strings.Repeat("d", 200)+"/", 3)
	mkdir(t, dir+"store", dir+"upper", dir+"work")
	object := onlyObject(t, f.store)
	rel, err := filepath.Rel(f.store, object)
	if err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Dir(dir+"store/"+rel))
	if err := os.Link(object, dir+"store/"+rel); err != nil {
		t.Fatal(err)
	}
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			var opts Options
			opts.ways = way.ways
			opts.Image = f.copyTo(t, dir+"image")
			opts.Objects = []*os.File{open(t, dir+"store", unix.O_PATH)}
			opts.Upper, opts.Work = open(t, dir+"upper", unix.O_PATH), open(t, dir+"work", unix.O_PATH)
			target, _ := mountHere(t, opts)
			sameBelow(t, f.source, target)
			if got := listed(t, target); got.Image != "" || got.Unknown[0] != "image" {
				t.Errorf("image %q, unknown %q", got.Image, got.Unknown)
			}
		})
	}
}

func TestManyObjectDirectories(t *testing.T) {
	f := newFixture(t, small)
	var many []*os.File
	for i := range 12 {
		dir := f.dir + "/store-with-a-rather-long-name-" + strings.Repeat("x", i)
		mkdir(t, dir)
		many = append(many, open(t, dir, unix.O_PATH))
	}
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.ways = way.ways
			opts.Objects = append(append([]*os.File(nil), many...), opts.Objects...)
			target, _ := mountHere(t, opts)
			same(t, f.source, target)
		})
	}
}

func TestStoresThatMountWouldForgetAreRefused(t *testing.T) {
	f := newFixture(t, small)
	opts := f.options(t)
	var many []*os.File
	for i := range 40 {
		dir := fmt.Sprintf("%s/%s%d", f.dir, strings.Repeat("s", 120), i)
		mkdir(t, dir)
		many = append(many, open(t, dir, unix.O_PATH))
	}
	opts.Objects = append(many, opts.Objects...)
	target, _ := mountHere(t, opts)
	same(t, f.source, target)
	opts.ways.noMountAPI = true
	if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, ErrOptions) {
		t.Errorf("mount(2): %v, want ErrOptions", err)
	}
}

func TestMountsOfTheReferenceHelperAreListedAndUnmounted(t *testing.T) {
	f := newFixture(t, small)
	helper := testenv.Peer(t, "mount.composefs")
	target := workDir(t)
	if out, err := exec.Command(helper, "-o", "basedir="+f.store, f.image, target).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := listed(t, target)
	if got.Source != "composefs" || got.Image != "" || !got.Digest.IsZero() {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{f.store}, got.Objects); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"image", "digest"}, got.Unknown); diff != "" {
		t.Error(diff)
	}
	if err := Unmount(target, UnmountOptions{}); err != nil {
		t.Error(err)
	}
}

func TestMountsOfOneImageAreIndependent(t *testing.T) {
	f := newFixture(t, small)
	first, second := workDir(t), workDir(t)
	for _, target := range []string{first, second} {
		if _, err := At(t.Context(), f.options(t), target); err != nil {
			t.Fatal(err)
		}
	}
	if err := Unmount(first, UnmountOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, f.source, second)
	if err := Unmount(first, UnmountOptions{}); !errors.Is(err, ErrNotMounted) {
		t.Errorf("second unmount: %v", err)
	}
	if err := Unmount(second, UnmountOptions{}); err != nil {
		t.Error(err)
	}
}

func TestMountsOnTopOfEachOther(t *testing.T) {
	f := newFixture(t, small)
	g := newFixture(t, func(t testing.TB, dir string) { write(t, dir+"/g", pattern(1000)) })
	target := workDir(t)
	for _, one := range []fixture{f, g} {
		if _, err := At(t.Context(), one.options(t), target); err != nil {
			t.Fatal(err)
		}
	}
	same(t, g.source, target)
	if err := Unmount(target, UnmountOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, f.source, target)
	if err := Unmount(target, UnmountOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestUnmountTouchesNothingElse(t *testing.T) {
	f := newFixture(t, everything)
	target, _ := mountHere(t, f.options(t))
	overlay := workDir(t)
	if err := unix.Mount("overlay", overlay, "overlay", 0, "lowerdir="+f.source+":"+workDir(t)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(overlay, 0); err != nil {
			t.Error(err)
		}
	}()
	others := map[string]string{
		"tmpfs": tmpfs(t), "plain overlay": overlay, "plain directory": workDir(t),
		"inside of a mount": target + "/sub", "file of a mount": target + "/private",
	}
	before := machineState()
	for name, path := range others {
		if err := Unmount(path, UnmountOptions{Lazy: true}); !errors.Is(err, ErrNotMounted) {
			t.Errorf("%s: %v, want ErrNotMounted", name, err)
		}
	}
	if err := Unmount(target+"/missing", UnmountOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := os.Stat(target + "/sub"); err != nil {
		t.Error(err)
	}
	if after := machineState(); after != before {
		t.Errorf("mounts changed:\n%s", after)
	}
}

func TestUnmountOfABusyMount(t *testing.T) {
	f := newFixture(t, small)
	target := workDir(t)
	if _, err := At(t.Context(), f.options(t), target); err != nil {
		t.Fatal(err)
	}
	file := open(t, target+"/external", os.O_RDONLY)
	if err := Unmount(target, UnmountOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount: %v, want EBUSY", err)
	}
	if err := Unmount(target, UnmountOptions{Lazy: true}); err != nil {
		t.Errorf("lazy unmount: %v", err)
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) != 0 {
		t.Errorf("still there: %v, %v", entries, err)
	}
	if _, err := file.Read(make([]byte, 10)); err != nil {
		t.Errorf("read of the open file: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	overlay := func(source string, options ...string) linux.MountInfo {
		return linux.MountInfo{ID: 7, MountPoint: "/m", FSType: "overlay", Source: source, Options: []string{"rw"}, SuperOptions: options}
	}
	tests := []struct {
		name string
		in   linux.MountInfo
		want Info
		ok   bool
	}{
		{"other filesystem", linux.MountInfo{FSType: "tmpfs", Source: "composefs"}, Info{}, false},
		{"other overlay", overlay("overlay", "rw"), Info{}, false},
		{
			"verity",
			overlay("composefs:x@"+someDigest, "rw", "lowerdir+=/", "datadir+=/s", "verity=require", "upperdir=/u", "workdir=/w", "volatile"),
			Info{
				Image: "x", DigestOrigin: DigestMeasured, Objects: []string{"/s"}, Verity: "require",
				Upper: "/u", Work: "/w", Volatile: true,
			},
			true,
		},
		{
			"one string", overlay("composefs:x@"+someDigest, "ro", `lowerdir=/tmp/i::/a\:b::/c`),
			Info{Image: "x", DigestOrigin: DigestMeasured, Objects: []string{"/a:b", "/c"}, Verity: "off", ReadOnly: true},
			true,
		},
		{
			"detached store", overlay("composefs", "ro", "lowerdir+=/", "datadir+=/s", "datadir+=/"),
			Info{Verity: "off", ReadOnly: true, Unknown: []string{"image", "digest", "objects"}},
			true,
		},
		{
			"store by descriptor", overlay("composefs:x@"+someDigest, "ro", "datadir+=/proc/self/fd/9"),
			Info{Image: "x", DigestOrigin: DigestMeasured, Verity: "off", ReadOnly: true, Unknown: []string{"objects"}},
			true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := describe(test.in)
			if ok {
				test.want.Target, test.want.ID = "/m", 7
				test.want.Source, test.want.Options, test.want.Digest = test.in.Source, test.in.Options, got.Digest
			}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" || ok != test.ok {
				t.Errorf("ok %v (-want +got):\n%s", ok, diff)
			}
		})
	}
}
