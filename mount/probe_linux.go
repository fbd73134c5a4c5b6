package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/go-composefs/composefs/internal/linux"
)

// question is one thing to find out. The attempt's error decides: none is yes, a lack of
// privileges is unknown, anything else is no.
type question struct {
	name    string
	what    string // the yes, as the end of a sentence
	no      string
	attempt func() error
}

// errCannotTry is the error of an attempt that was none.
var errCannotTry = errors.New("nothing to try it with")

func ask(questions []question) []Capability {
	answers := make([]Capability, len(questions))
	for i, q := range questions {
		c := Capability{Name: q.name}
		err := q.attempt()
		switch {
		case err == nil:
			c.Answer, c.Detail = Yes, strings.ToUpper(q.what[:1])+q.what[1:]+"."
		case errors.Is(err, fs.ErrPermission):
			c.Answer, c.Detail = Unknown, "Without more privileges it cannot be told whether "+q.what+"."
		case errors.Is(err, errCannotTry):
			c.Answer, c.Detail = Unknown, "It cannot be told whether "+q.what+"."
		default:
			c.Answer, c.Detail = No, q.no
		}
		if err != nil {
			c.Error = err.Error()
		}
		answers[i] = c
	}
	return answers
}

func probe(dir *os.File) Capabilities {
	c := Capabilities{Kernel: ask(kernelQuestions(dir))}
	if dir != nil {
		c.Directory = dir.Name()
		c.Filesystem = ask(directoryQuestions(dir))
	}
	return c
}

func kernelQuestions(dir *os.File) []question {
	return []question{
		{
			CapErofs, "the kernel has EROFS, the format of images",
			"The kernel has no EROFS: no image can be mounted. Load or install its module erofs.",
			func() error { return hasFilesystem("erofs") },
		},
		{
			CapErofsFile, "the kernel mounts image files directly",
			"The kernel mounts image files only through loop devices; since Linux 6.12 it can do without, except on tmpfs and overlayfs.",
			func() error { return probeErofsFile(dir) },
		},
		{
			CapLoop, "loop devices work, for images that the kernel cannot mount directly",
			"Loop devices do not work: images that the kernel cannot mount directly cannot be mounted.",
			probeLoop,
		},
		{
			CapOverlay, "the kernel has overlayfs, which joins an image with its objects",
			"The kernel has no overlayfs: no image can be mounted. Load or install its module overlay.",
			func() error { return hasFilesystem("overlay") },
		},
		{
			CapDataOnly, "overlayfs has data-only layers for object directories",
			"Overlayfs has no data-only layers (Linux 6.5): images are mounted in an older way, without verity of files.",
			func() error { return probeOverlay(VerityOff) },
		},
		{
			CapLayerFD, "overlayfs takes layers as descriptors of mounts that are attached nowhere",
			"Overlayfs takes layers by name only (before Linux 6.15): each mount is prepared in a mount namespace of its own.",
			func() error { return probeLayerFD() },
		},
		{
			CapOverlayVerity, "the kernel can check objects by fs-verity when they are opened",
			"The kernel cannot check objects by fs-verity (Linux 6.6, if built with it): mounts that require verity are refused.",
			func() error {
				if err := kernelVerity(); err != nil {
					return err
				}
				return probeOverlay(VerityRequire)
			},
		},
		{
			CapIDMap, "images can be mounted with other owners (idmap)",
			"Images cannot be mounted with other owners (idmap).",
			probeIDMap,
		},
		{
			CapUserNamespace, "user namespaces can be made",
			"User namespaces cannot be made: nothing can be mounted without root.",
			probeUserNamespace,
		},
		{
			CapUserOverlay, "overlayfs can join data-only layers in a user namespace",
			"Overlayfs cannot join data-only layers in a user namespace (Linux 6.16).",
			func() error { return probeLayerFD(overlayOption{key: "userxattr"}) },
		},
		{
			CapFUSE, "FUSE can be used",
			"FUSE cannot be used: there is no working /dev/fuse.",
			func() error { return closed(os.OpenFile("/dev/fuse", os.O_RDWR, 0)) },
		},
	}
}

// closed closes what an attempt opened.
func closed(f *os.File, err error) error {
	if err != nil {
		return err
	}
	return f.Close()
}

// hasFilesystem asks for the filesystem, which also loads its module; without privileges it
// looks whether that is done already.
func hasFilesystem(name string) error {
	err := closed(linux.FSOpen(name))
	if errors.Is(err, fs.ErrPermission) {
		list, listErr := os.ReadFile("/proc/filesystems")
		if listErr == nil && slices.Contains(strings.Fields(string(list)), name) {
			return nil
		}
	}
	return err
}

// probeErofsFile mounts a small image that lies in the directory or, if that is nil, where
// temporary files may be on a disk.
func probeErofsFile(dir *os.File) error {
	places := []string{"/var/tmp", os.TempDir(), "/"}
	if dir != nil {
		places = []string{procPath(dir)}
	}
	var err error
	for _, place := range places {
		if err = probeErofsIn(place); err == nil {
			return nil
		}
	}
	return err
}

func probeErofsIn(dir string) error {
	image, err := temporary(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errCannotTry, err)
	}
	defer image.Close()
	if _, err := image.WriteAt(probeImage(), 0); err != nil {
		return fmt.Errorf("%w: %w", errCannotTry, err)
	}
	j := probeJob(image)
	return closed(j.mountErofs(procPath(image)))
}

// probeJob mounts an image that is none of a user.
func probeJob(image *os.File) *job {
	// Format 2 keeps away from ways without data-only layers.
	return &job{Options: Options{Image: image}, header: header{format: 2}, name: "of a probe", source: sourceWord}
}

func probeLoop() error {
	image, err := memoryImage()
	if err != nil {
		return err
	}
	defer image.Close()
	return closed(probeJob(image).bindLoop())
}

// probeOverlay makes an overlay of two empty directories as a mount of an image does.
func probeOverlay(verity Verity) error {
	j := probeJob(nil)
	j.state.Verity = verity
	image, dir, err := j.noObjects()
	if err != nil {
		return err
	}
	defer image.Close()
	defer dir.Close()
	return closed(j.mountOverlay(image))
}

// probeLayerFD makes an overlay of two empty directories handed over as descriptors, with no
// other options than those given.
func probeLayerFD(options ...overlayOption) error {
	j := probeJob(nil)
	image, below, err := j.noObjects()
	if err != nil {
		return err
	}
	defer image.Close()
	defer below.Close()
	none, dir, err := j.noObjects()
	if err != nil {
		return err
	}
	defer none.Close()
	defer dir.Close()
	return closed(j.mountNew("mount overlay", "overlay", 0, func(fs *os.File) error {
		for _, option := range options {
			if err := option.set(fs); err != nil {
				return err
			}
		}
		return j.layersByFD(fs, layers{image: image, data: []*os.File{dir}})
	}))
}

func probeIDMap() error {
	return withUserNamespace(func(ns *os.File) error {
		image, err := memoryImage()
		if err != nil {
			return err
		}
		defer image.Close()
		j := probeJob(image)
		j.UserNS = ns
		return closed(j.mountImage())
	})
}

// kernelVerity asks whether fs-verity is built into the kernel. Overlayfs does not say: without
// it, it takes the option and then refuses every file. The filesystems that have fs-verity list
// it among what they are built with.
func kernelVerity() error {
	built := false
	for _, name := range []string{"ext4", "btrfs", "f2fs"} {
		features := "/sys/fs/" + name + "/features"
		if _, err := os.Stat(features + "/verity"); err == nil {
			return nil
		}
		if _, err := os.Stat(features); err == nil {
			built = true
		}
	}
	if !built {
		return fmt.Errorf("%w: no filesystem is there that can have fs-verity", errCannotTry)
	}
	return errors.New("this kernel is built without fs-verity")
}

// probeUserNamespace makes a user namespace and, since root always may, looks whether others
// are forbidden to.
func probeUserNamespace() error {
	if err := withUserNamespace(func(*os.File) error { return nil }); err != nil {
		return err
	}
	for _, limit := range []struct{ name, forbids string }{
		{"kernel.unprivileged_userns_clone", "0"},             // Debian's kernels
		{"kernel.apparmor_restrict_unprivileged_userns", "1"}, // Ubuntu's kernels
	} {
		value, err := os.ReadFile("/proc/sys/" + strings.Replace(limit.name, ".", "/", 1))
		if err == nil && strings.TrimSpace(string(value)) == limit.forbids {
			return fmt.Errorf("only root may, because sysctl %s is %s", limit.name, limit.forbids)
		}
	}
	return nil
}

func withUserNamespace(f func(ns *os.File) error) error {
	uid := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	gid := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	ns, err := linux.UserNamespace(uid, gid)
	if err != nil {
		return err
	}
	return errors.Join(f(ns), ns.Close())
}
