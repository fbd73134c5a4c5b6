package mount

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// That verity does what it promises where the kernel has it is tested in a virtual machine.

func TestVerityIsRefusedWhereItCannotHold(t *testing.T) {
	f := newFixture(t, small)
	store := tmpfs(t)
	if err := os.CopyFS(store, os.DirFS(f.store)); err != nil {
		t.Fatal(err)
	}
	opts := f.options(t)
	opts.Objects = []*os.File{open(t, store, unix.O_PATH)}
	opts.Verity = VerityRequire
	before := machineState()
	if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, ErrNoVerity) || !strings.Contains(err.Error(), store) {
		t.Errorf("require: %v", err)
	}
	if after := machineState(); after != before {
		t.Errorf("left:\n%s", after)
	}
	opts.Verity = VerityTry
	target, state := mountHere(t, opts)
	if state.Verity != VerityOff || !strings.Contains(state.VerityReason, store) {
		t.Errorf("try: %+v", state)
	}
	if got := listed(t, target); got.Verity != "off" {
		t.Errorf("listed with verity %s", got.Verity)
	}
	same(t, f.source, target)
}

func TestVerityOfAnImageWithoutObjects(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) { write(t, dir+"/inline", []byte("small")) })
	if probeOverlay(VerityRequire) != nil {
		opts := f.options(t)
		opts.Objects, opts.Verity = nil, VerityRequire
		if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, ErrNoVerity) {
			t.Errorf("on a kernel without it: %v", err)
		}
		return
	}
	for _, way := range allWays {
		if way.ways.noDataOnly {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.Objects, opts.Verity, opts.ways = nil, VerityRequire, way.ways
			target, state := mountHere(t, opts)
			if state.Verity != VerityRequire {
				t.Errorf("state %+v", state)
			}
			if got := listed(t, target); got.Verity != "require" {
				t.Errorf("listed with verity %s", got.Verity)
			}
			same(t, f.source, target)
		})
	}
}

// Before 6.6 overlayfs knows no verity; requiring it must fail then, and trying it must not.
func TestVerityWithoutDataOnlyLayers(t *testing.T) {
	f := newFixture(t, func(t testing.TB, dir string) { write(t, dir+"/inline", []byte("small")) })
	for _, old := range []ways{{noLayerFD: true, noPlus: true, noDataOnly: true}, {noMountAPI: true, noDataOnly: true}} {
		opts := f.options(t)
		opts.Objects, opts.ways, opts.Verity = nil, old, VerityRequire
		if _, err := At(t.Context(), opts, workDir(t)); !errors.Is(err, unix.EINVAL) {
			t.Errorf("require: %v", err)
		}
		opts.Verity = VerityTry
		target, state := mountHere(t, opts)
		if state.Verity != VerityOff || state.VerityReason == "" {
			t.Errorf("try: %+v", state)
		}
		same(t, f.source, target)
	}
}

func TestImageDigest(t *testing.T) {
	f := newFixture(t, small)
	// No kernel has fs-verity of files on a tmpfs.
	image := f.copyTo(t, tmpfs(t)+"/image")
	content, err := os.ReadFile(f.image)
	if err != nil {
		t.Fatal(err)
	}
	sha512, err := fsverity.Sum(fsverity.SHA512, content)
	if err != nil {
		t.Fatal(err)
	}
	other, err := fsverity.ParseDigest(someDigest)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		want    fsverity.Digest
		compute bool
		err     error
	}{
		{"none expected", fsverity.Digest{}, true, nil},
		{"may not be computed", f.digest(t), false, ErrNoVerity},
		{"computed", f.digest(t), true, nil},
		{"computed with SHA-512", sha512, true, nil},
		{"wrong", other, true, ErrWrongVerity},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := f.options(t)
			opts.Image, opts.ImageName, opts.Digest, opts.AllowComputed = image, "the image", test.want, test.compute
			if test.err != nil {
				_, err := At(t.Context(), opts, workDir(t))
				var digest *DigestError
				if !errors.Is(err, test.err) || !errors.As(err, &digest) || digest.Image != "the image" || digest.Want != test.want {
					t.Errorf("error %v, want %v", err, test.err)
				}
				return
			}
			target, state := mountHere(t, opts)
			got := listed(t, target)
			origin := DigestComputed
			if test.want.IsZero() {
				origin = ""
			}
			if state.Digest != test.want || got.Digest != test.want || state.DigestOrigin != origin || got.DigestOrigin != origin {
				t.Errorf("state %+v, listed %+v", state, got)
			}
			if got.Image != "the image" {
				t.Errorf("image %q", got.Image)
			}
		})
	}
}
