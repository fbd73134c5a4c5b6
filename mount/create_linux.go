package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/internal/linux"
)

// ways are what a test forbids, so that the ways of older kernels run on a new one. A
// forbidden way fails with the error that a kernel without it returns.
type ways struct {
	noFileBacked bool // ENOTBLK: EROFS from a regular file
	noConfigure  bool // EINVAL: LOOP_CONFIGURE
	noLayerFD    bool // EBADF: overlay layers as descriptors
	noPlus       bool // EINVAL: lowerdir+ and datadir+
	noDataOnly   bool // EINVAL: data-only layers, lowerdir=a::b
	noMountAPI   bool // ENOSYS: fsopen
	// fail is called before each step with its name; an error is taken for the kernel's.
	fail func(step string) error
}

func (w *ways) step(name string) error {
	if w.fail == nil {
		return nil
	}
	return w.fail(name)
}

// job is one image on its way to become a mount.
type job struct {
	Options
	name   string // for errors
	header header
	state  State
	source string // of the overlay
	marked bool   // the work directory has the mark of an earlier volatile mount
	log    *kernelLog
}

// prepare does everything that needs no mount: it reads the header, checks length and
// digest, and decides about verity.
func prepare(ctx context.Context, opts Options) (*job, error) {
	j := &job{Options: opts, name: opts.name()}
	var err error
	if j.header, err = readHeader(j.Image, j.name); err != nil {
		return nil, err
	}
	if err := checkWhole(j.Image, j.name); err != nil {
		return nil, err
	}
	if err := j.checkDigest(ctx); err != nil {
		return nil, err
	}
	if err := j.decideVerity(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.source = formatSource(j.sourceName(), j.state.Digest, j.state.DigestOrigin)
	if j.Volatile {
		_, err := os.Lstat(procPath(j.Work) + volatileMark)
		j.marked = err == nil
	}
	j.log = openKernelLog()
	return j, nil
}

// sourceName is the image's name for those who list mounts: absolute unless the caller chose
// a name.
func (j *job) sourceName() string {
	if j.ImageName != "" {
		return j.ImageName
	}
	if path, err := os.Readlink(procPath(j.Image)); err == nil {
		return path
	}
	return j.name
}

func create(ctx context.Context, opts Options) (*Mount, error) {
	j, err := prepare(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer j.log.Close()
	return j.detached()
}

// detached mounts the image and the overlay on it, both attached nowhere.
func (j *job) detached() (*Mount, error) {
	file, err := j.mountBoth()
	// Some kernels between fs-verity (5.4) and overlayfs's use of it (6.6) can do the one
	// and not the other, which shows only here.
	if badLayers(err) && j.state.Verity == VerityRequire {
		const reason = "overlayfs of this kernel does not check fs-verity"
		if j.Verity == VerityTry {
			j.state.Verity = VerityOff
			var again error
			if file, again = j.mountBoth(); again == nil {
				j.state.VerityReason, err = reason, nil
			}
		} else if probeOverlay(VerityRequire) != nil {
			err = fmt.Errorf("%w: %s: %w", ErrNoVerity, reason, err)
		}
	}
	if err != nil {
		return nil, err
	}
	return &Mount{file: file, name: j.name, state: j.state}, nil
}

func (j *job) mountBoth() (*os.File, error) {
	image, err := j.mountImage()
	if err != nil {
		return nil, err
	}
	// The overlay has its own clone of the mount.
	defer image.Close()
	return j.mountOverlay(image)
}

func (m *Mount) attach(target *os.File) error {
	if err := linux.MoveMount(m.file, target); err != nil {
		return &KernelError{Doing: fmt.Sprintf("attach image %s to %s", m.name, target.Name()), Err: err}
	}
	return nil
}

func mountAt(ctx context.Context, opts Options, target string) (State, error) {
	dir, err := os.OpenFile(target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return State{}, fmt.Errorf("open mount point: %w", err)
	}
	defer dir.Close()
	j, err := prepare(ctx, opts)
	if err != nil {
		return State{}, err
	}
	defer j.log.Close()
	m, err := j.detached()
	if errors.Is(err, unix.ENOSYS) {
		if err = j.mountLegacy(dir); err == nil {
			return j.state, nil
		}
	}
	if err != nil {
		return State{}, err
	}
	if err = j.ways.step("attach"); err == nil {
		err = m.attach(dir)
	}
	// While it is open the mount is busy.
	err = errors.Join(err, m.Close())
	if err != nil {
		j.unmarkVolatile()
		return State{}, err
	}
	return m.state, nil
}

// procPath is a name of the open file for system calls that take names only.
func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// mountNew makes a filesystem of the type and mounts it, detached.
func (j *job) mountNew(doing, fstype string, attrs int, configure func(fs *os.File) error) (*os.File, error) {
	if j.ways.noMountAPI {
		return nil, j.kernelError(doing, unix.ENOSYS)
	}
	fs, err := linux.FSOpen(fstype)
	if errors.Is(err, unix.ENODEV) {
		err = fmt.Errorf("this kernel has no %s: %w: %w", fstype, errors.ErrUnsupported, err)
	}
	if err != nil {
		return nil, j.kernelError(doing, err)
	}
	defer fs.Close()
	if err = configure(fs); err == nil {
		err = linux.FSConfigCreate(fs)
	}
	var mnt *os.File
	if err == nil {
		mnt, err = linux.FSMount(fs, attrs)
	}
	if err != nil {
		return nil, j.kernelError(doing, err, linux.FSLog(fs)...)
	}
	return mnt, nil
}

// kernelError wraps what a call returned with what the kernel said about it: the messages of a
// filesystem context, and its log.
func (j *job) kernelError(doing string, err error, messages ...string) error {
	return &KernelError{
		Doing:    doing + " " + j.name,
		Err:      err,
		Messages: append(messages, j.log.Messages()...),
	}
}
