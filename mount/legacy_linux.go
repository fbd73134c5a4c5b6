package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// mountLegacy mounts with mount(2), where fsopen(2) and with it detached mounts are missing:
// before Linux 5.2, or forbidden by a seccomp filter that does not know the call. For a moment
// the image is mounted on a directory of its own, which others cannot reach.
func (j *job) mountLegacy(target *os.File) error {
	if j.UserNS != nil {
		return fmt.Errorf("map owners of image %s: this kernel cannot: %w", j.name, errors.ErrUnsupported)
	}
	dir, err := mountPoint(".composefs.*")
	if err != nil {
		return fmt.Errorf("make a mount point for image %s: %w", j.name, err)
	}
	// The overlay has its own clone of the mount.
	defer dir.Close()
	if err := j.mountErofsLegacy(dir.path); err != nil {
		return err
	}
	dir.mounted = true
	image, err := os.OpenFile(dir.path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	return j.mountOverlayLegacy(image, target)
}

// temporaryMount is a directory made for a mount that is needed for a moment. It lies in one
// that only its owner can enter, because what is mounted has permissions of its own.
type temporaryMount struct {
	path    string
	mounted bool
}

// mountPoint makes a directory to mount on; see os.MkdirTemp for the pattern.
func mountPoint(pattern string) (*temporaryMount, error) {
	parent, err := os.MkdirTemp("", pattern)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(parent, noObjectsName)
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, errors.Join(err, os.Remove(parent))
	}
	return &temporaryMount{path: path}, nil
}

// Close takes mount and directory away. Should that ever fail, an empty directory left behind
// is no reason to fail a mount that stands.
func (t *temporaryMount) Close() {
	if t.mounted {
		_ = linux.Unmount(t.path, unix.MNT_DETACH)
	}
	_ = os.Remove(t.path)
	_ = os.Remove(filepath.Dir(t.path))
}

func (j *job) mountErofsLegacy(dir string) error {
	err := j.mountErofsSource(procPath(j.Image), dir)
	if !errors.Is(err, unix.ENOTBLK) {
		return err
	}
	device, err := j.bindLoop()
	if err != nil {
		return err
	}
	defer device.Close()
	if err := j.mountErofsSource(device.Name(), dir); err != nil {
		return err
	}
	j.state.LoopDevice = device.Name()
	return nil
}

func (j *job) mountErofsSource(source, dir string) error {
	data := "noacl"
	if j.header.acl {
		data = ""
	}
	err := j.ways.step("create erofs")
	if err == nil && j.ways.noFileBacked && source == procPath(j.Image) {
		err = unix.ENOTBLK
	}
	if err == nil {
		err = linux.Mount(source, dir, "erofs", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID, data)
	}
	if err != nil {
		return j.kernelError("mount image", err)
	}
	return nil
}

// mountOverlayLegacy tries data-only layers (6.5), then an ordinary lower layer; and verity
// only with the former.
func (j *job) mountOverlayLegacy(image, target *os.File) error {
	names := []string{procPath(image)}
	for _, dir := range j.Objects {
		names = append(names, j.legacyName(dir))
	}
	if len(j.Objects) == 0 {
		none, err := mountPoint(".composefs.*")
		if err != nil {
			return fmt.Errorf("make an empty object directory for image %s: %w", j.name, err)
		}
		defer none.Close()
		if err := linux.Mount("tmpfs", none.path, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return j.kernelError("mount an empty object directory for image", err)
		}
		none.mounted = true
		dir, err := os.OpenFile(none.path, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer dir.Close()
		names = append(names, j.legacyName(dir))
	}
	err := j.tryOverlayLegacy(names, "::", target)
	if !badLayers(err) {
		return err
	}
	if j.state.Verity == VerityRequire && j.Verity == VerityTry {
		j.state.Verity, j.state.VerityReason = VerityOff, "overlayfs of this kernel does not check fs-verity"
		if again := j.tryOverlayLegacy(names, "::", target); !badLayers(again) {
			return again
		}
	}
	if j.state.Verity == VerityRequire || j.header.format >= 2 {
		return err
	}
	return j.tryOverlayLegacy(names, ":", target)
}

// legacyMax is what mount(2) takes of options, in bytes: of more than a page the kernel cuts
// off the end without a word.
const legacyMax = 4095

func (j *job) tryOverlayLegacy(lower []string, separator string, target *os.File) error {
	if j.ways.noDataOnly && separator == "::" {
		return unix.EINVAL
	}
	var data []string
	for _, option := range j.overlayOptions() {
		data = append(data, option.String())
	}
	if j.Upper != nil {
		data = append(data, "upperdir="+j.legacyName(j.Upper), "workdir="+j.legacyName(j.Work))
	}
	data = append(data, "lowerdir="+strings.Join(lower, separator))
	text := strings.Join(data, ",")
	if len(text) > legacyMax {
		return fmt.Errorf("%w: %d object directories are too many for this kernel: their names have %d bytes, of at most %d",
			ErrOptions, len(j.Objects), len(text), legacyMax)
	}
	err := j.ways.step("create overlay")
	if err == nil {
		err = linux.Mount(j.source, procPath(target), "overlay", j.legacyFlags(), text)
	}
	if err != nil {
		j.unmarkVolatile()
		return j.kernelError("mount overlay of image", err)
	}
	return nil
}

func (j *job) legacyFlags() uintptr {
	flags := uintptr(unix.MS_SILENT)
	for _, f := range []struct {
		set  bool
		flag uintptr
	}{
		{j.ReadOnly, unix.MS_RDONLY},
		{j.Nosuid, unix.MS_NOSUID},
		{j.Nodev, unix.MS_NODEV},
		{j.Noexec, unix.MS_NOEXEC},
		{j.Noatime, unix.MS_NOATIME},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

// legacyName is a string for the option text that leads to the directory.
func (j *job) legacyName(dir *os.File) string {
	again, err := openByPath(dir)
	if err != nil {
		return procPath(dir)
	}
	defer again.Close()
	if name := layerName(again); name == again.Name() {
		return name
	}
	return procPath(dir)
}
