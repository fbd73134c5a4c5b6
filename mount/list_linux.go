package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

func list() ([]Info, error) {
	mounts, err := linux.ReadMountInfo()
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var infos []Info
	for _, m := range mounts {
		if info, ok := describe(m); ok {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// describe reads back what a mount is made of; ok is false if it is none of composefs.
func describe(m linux.MountInfo) (info Info, ok bool) {
	if m.FSType != "overlay" {
		return Info{}, false
	}
	info = Info{Target: m.MountPoint, ID: m.ID, Source: m.Source, Options: m.Options, Verity: "off"}
	info.Image, info.Digest, info.DigestOrigin, ok = parseSource(m.Source)
	if !ok {
		return Info{}, false
	}
	info.ReadOnly = slices.Contains(m.Options, "ro") || slices.Contains(m.SuperOptions, "ro")
	known := true
	add := func(dir string) {
		switch {
		case filepath.Base(dir) == noObjectsName:
			// What we give an image without external files.
		case dir == "/" || strings.HasPrefix(dir, "/proc/"):
			// A mount that never had a path, or a descriptor of the mounter.
			known = false
		default:
			info.Objects = append(info.Objects, dir)
		}
	}
	for _, option := range m.SuperOptions {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "datadir+":
			add(value)
		case "lowerdir":
			for _, dir := range objectsOfLowerdir(value) {
				add(dir)
			}
		case "verity":
			info.Verity = value
		case "upperdir":
			info.Upper = value
		case "workdir":
			info.Work = value
		case "volatile":
			info.Volatile = true
		case "fsync": // the name since Linux 6.18
			info.Volatile = value == "volatile"
		}
	}
	if info.Image == "" {
		info.Unknown = append(info.Unknown, "image")
	}
	if info.Digest.IsZero() {
		info.Unknown = append(info.Unknown, "digest")
	}
	if !known {
		info.Objects = nil
		info.Unknown = append(info.Unknown, "objects")
	}
	return info, true
}

// objectsOfLowerdir takes apart image::objects::objects, or image:objects from kernels without
// data-only layers. A backslash takes the next character as it is.
func objectsOfLowerdir(value string) []string {
	layers, err := splitEscaped(value, ':')
	if err != nil {
		return nil
	}
	var dirs []string
	for _, dir := range layers[1:] {
		if dir != "" {
			dirs = append(dirs, unescape(dir))
		}
	}
	return dirs
}

func unmount(target string, opts UnmountOptions) error {
	info, err := find(target)
	if err != nil {
		return err
	}
	flags := unix.UMOUNT_NOFOLLOW
	if opts.Lazy {
		flags |= unix.MNT_DETACH
	}
	// The kernel's own name of the place has no symbolic links.
	if err := linux.Unmount(info.Target, flags); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// find returns the composefs mount whose root is target.
func find(target string) (Info, error) {
	dir, err := os.OpenFile(target, unix.O_PATH, 0)
	if err != nil {
		return Info{}, fmt.Errorf("open mount point: %w", err)
	}
	defer dir.Close()
	id, root, err := linux.MountID(dir)
	if err != nil {
		return Info{}, fmt.Errorf("look at mount point %s: %w", target, err)
	}
	if !root {
		return Info{}, fmt.Errorf("%s: %w", target, ErrNotMounted)
	}
	mounts, err := linux.ReadMountInfo()
	if err != nil {
		return Info{}, fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		if m.ID != id {
			continue
		}
		if info, ok := describe(m); ok {
			return info, nil
		}
		return Info{}, fmt.Errorf("%s: %w: it is %s of %s", target, ErrNotMounted, m.FSType, m.Source)
	}
	return Info{}, fmt.Errorf("%s: %w: its mount is not in this namespace", target, ErrNotMounted)
}
