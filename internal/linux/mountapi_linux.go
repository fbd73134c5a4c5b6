package linux

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// FSOpen is fsopen(2): a context in which a filesystem of the type is configured.
func FSOpen(fstype string) (*os.File, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	return os.NewFile(uintptr(fd), fstype+" context"), nil
}

// FSConfigFlag is fsconfig(2) with FSCONFIG_SET_FLAG.
func FSConfigFlag(fs *os.File, key string) error {
	defer runtime.KeepAlive(fs)
	return os.NewSyscallError("fsconfig", unix.FsconfigSetFlag(int(fs.Fd()), key))
}

// FSConfigString is fsconfig(2) with FSCONFIG_SET_STRING. The kernel takes at most 255 bytes.
func FSConfigString(fs *os.File, key, value string) error {
	defer runtime.KeepAlive(fs)
	return os.NewSyscallError("fsconfig", unix.FsconfigSetString(int(fs.Fd()), key, value))
}

// FSConfigFile is fsconfig(2) with FSCONFIG_SET_FD.
func FSConfigFile(fs *os.File, key string, value *os.File) error {
	defer runtime.KeepAlive(fs)
	defer runtime.KeepAlive(value)
	return os.NewSyscallError("fsconfig", unix.FsconfigSetFd(int(fs.Fd()), key, int(value.Fd())))
}

// FSConfigCreate is fsconfig(2) with FSCONFIG_CMD_CREATE: it makes the filesystem.
func FSConfigCreate(fs *os.File) error {
	defer runtime.KeepAlive(fs)
	return os.NewSyscallError("fsconfig create", unix.FsconfigCreate(int(fs.Fd())))
}

// FSLog reads the messages that the kernel left in a filesystem context, such as
// "e overlay: Unknown parameter 'x'", and takes them out of it.
func FSLog(fs *os.File) []string {
	defer runtime.KeepAlive(fs)
	var messages []string
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(int(fs.Fd()), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return messages
		}
		messages = append(messages, strings.TrimRight(string(buf[:n]), "\n"))
	}
}

// FSMount is fsmount(2): the configured filesystem as a mount that is attached nowhere. attrs
// are MOUNT_ATTR_* flags. The mount goes away with its last descriptor unless it is attached.
func FSMount(fs *os.File, attrs int) (*os.File, error) {
	defer runtime.KeepAlive(fs)
	fd, err := unix.Fsmount(int(fs.Fd()), unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(fd), "detached mount"), nil
}

// MoveMount is move_mount(2) of the mount whose root mnt is to the open directory target.
func MoveMount(mnt, target *os.File) error {
	defer runtime.KeepAlive(mnt)
	defer runtime.KeepAlive(target)
	return os.NewSyscallError("move_mount", unix.MoveMount(int(mnt.Fd()), "", int(target.Fd()), "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// MountSetIDMap is mount_setattr(2) with MOUNT_ATTR_IDMAP: owners below the detached mount
// appear as the user namespace userns maps them.
func MountSetIDMap(mnt, userns *os.File) error {
	defer runtime.KeepAlive(mnt)
	defer runtime.KeepAlive(userns)
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(int(mnt.Fd()), "", unix.AT_EMPTY_PATH,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}))
}

// Mount is mount(2), the call of kernels before 5.2.
func Mount(source, target, fstype string, flags uintptr, data string) error {
	return os.NewSyscallError("mount", unix.Mount(source, target, fstype, flags, data))
}

// Unmount is umount2(2).
func Unmount(target string, flags int) error {
	return os.NewSyscallError("umount2", unix.Unmount(target, flags))
}

// MountID tells which mount the open file belongs to, by the number that mountinfo has for
// it, and whether the file is that mount's root. It is statx(2).
func MountID(f *os.File) (id uint64, root bool, err error) {
	defer runtime.KeepAlive(f)
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, false, os.NewSyscallError("statx", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, false, os.NewSyscallError("statx", unix.EOPNOTSUPP)
	}
	return st.Mnt_id, st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
