package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// layers are what an overlay is made of, besides its upper directory.
type layers struct {
	image *os.File   // detached
	data  []*os.File // at least one: overlayfs wants two layers
	none  *os.File   // detached tmpfs that the only one of data lies in, if there are no objects
}

// mountOverlay puts the overlay on the detached image, by the best way that the kernel knows.
func (j *job) mountOverlay(image *os.File) (*os.File, error) {
	l := layers{image: image, data: j.Objects}
	if len(l.data) == 0 {
		mnt, dir, err := j.noObjects()
		if err != nil {
			return nil, err
		}
		defer mnt.Close()
		defer dir.Close()
		l.none, l.data = mnt, []*os.File{dir}
	}
	mnt, err := j.overlay(func(fs *os.File) error { return j.layersByFD(fs, l) })
	if !badLayers(err) {
		return mnt, err
	}
	mnt, nameErr := j.overlayByName(l)
	var first *KernelError
	if nameErr != nil && errors.Is(err, unix.EINVAL) && errors.As(err, &first) && len(first.Messages) > 0 {
		// The first refusal was none of the way.
		return nil, err
	}
	return mnt, nameErr
}

// badLayers says whether the kernel refused the overlay in a way that may come from how its
// layers were handed over: EBADF and, before 6.5, EOPNOTSUPP from kernels that want strings,
// EINVAL from those that do not know a key or cannot stack on detached mounts.
func badLayers(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) || errors.Is(err, unix.EOPNOTSUPP)
}

// overlay mounts an overlay whose layers the function sets.
func (j *job) overlay(layers func(fs *os.File) error) (*os.File, error) {
	mnt, err := j.mountNew("mount overlay of image", "overlay", j.overlayAttrs(), func(fs *os.File) error {
		if err := linux.FSConfigString(fs, "source", j.source); err != nil {
			return err
		}
		for _, option := range j.overlayOptions() {
			if err := option.set(fs); err != nil {
				return fmt.Errorf("option %s: %w", option, err)
			}
		}
		if err := layers(fs); err != nil {
			return err
		}
		return j.ways.step("create overlay")
	})
	if err != nil {
		j.unmarkVolatile()
	}
	return mnt, err
}

// volatileMark is where overlayfs notes below the work directory that the upper directory was
// used without syncs, see Documentation/filesystems/overlayfs.rst. It refuses such a pair.
const volatileMark = "/work/incompat/volatile"

// unmarkVolatile takes the mark away that an attempt to mount left, so that it does not spoil
// the next. The one of an earlier mount stays.
func (j *job) unmarkVolatile() {
	if j.Volatile && !j.marked {
		_ = os.Remove(procPath(j.Work) + volatileMark + "/dirty")
		_ = os.Remove(procPath(j.Work) + volatileMark)
	}
}

// overlayOption is a flag if the value is empty.
type overlayOption struct{ key, value string }

func (o overlayOption) String() string {
	if o.value == "" {
		return o.key
	}
	return o.key + "=" + o.value
}

func (o overlayOption) set(fs *os.File) error {
	if o.value == "" {
		return linux.FSConfigFlag(fs, o.key)
	}
	return linux.FSConfigString(fs, o.key, o.value)
}

// overlayOptions are those of every overlay. Older kernels follow redirects and use data-only
// layers only if told; and metacopy keeps a change of metadata from copying data to the upper
// directory.
func (j *job) overlayOptions() []overlayOption {
	options := []overlayOption{{"metacopy", "on"}, {"redirect_dir", "on"}}
	if j.state.Verity == VerityRequire {
		options = append(options, overlayOption{"verity", "require"})
	}
	if j.Volatile {
		options = append(options, overlayOption{key: "volatile"})
	}
	return options
}

func (j *job) overlayAttrs() int {
	attrs := 0
	for _, f := range []struct {
		set  bool
		attr int
	}{
		{j.ReadOnly, unix.MOUNT_ATTR_RDONLY},
		{j.Nosuid, unix.MOUNT_ATTR_NOSUID},
		{j.Nodev, unix.MOUNT_ATTR_NODEV},
		{j.Noexec, unix.MOUNT_ATTR_NOEXEC},
		{j.Noatime, unix.MOUNT_ATTR_NOATIME},
	} {
		if f.set {
			attrs |= f.attr
		}
	}
	return attrs
}

// layersByFD hands the layers over as descriptors: Linux 6.13, for detached mounts 6.15.
func (j *job) layersByFD(fs *os.File, l layers) error {
	if j.ways.noLayerFD {
		return unix.EBADF
	}
	if err := linux.FSConfigFile(fs, "lowerdir+", l.image); err != nil {
		return fmt.Errorf("image layer: %w", err)
	}
	for _, dir := range l.data {
		if err := linux.FSConfigFile(fs, "datadir+", dir); err != nil {
			return fmt.Errorf("object directory %s: %w", dir.Name(), err)
		}
	}
	if j.Upper == nil {
		return nil
	}
	if err := linux.FSConfigFile(fs, "upperdir", j.Upper); err != nil {
		return fmt.Errorf("upper directory %s: %w", j.Upper.Name(), err)
	}
	if err := linux.FSConfigFile(fs, "workdir", j.Work); err != nil {
		return fmt.Errorf("work directory %s: %w", j.Work.Name(), err)
	}
	return nil
}

// noObjectsName is what mountinfo shows for the object directory of an image without one.
const noObjectsName = "composefs-no-objects"

// noObjects returns an empty directory, and the detached tmpfs that it is in and needs.
func (j *job) noObjects() (mnt, dir *os.File, err error) {
	const doing = "mount an empty object directory for image"
	mnt, err = j.mountNew(doing, "tmpfs", unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC,
		func(*os.File) error { return j.ways.step("create tmpfs") })
	if err != nil {
		return nil, nil, err
	}
	path := procPath(mnt) + "/" + noObjectsName
	if err = os.Mkdir(path, 0o555); err == nil {
		dir, err = os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, mnt.Close())
	}
	return mnt, dir, nil
}
