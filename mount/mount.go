package mount

import (
	"context"
	"fmt"
	"os"

	"github.com/go-composefs/composefs/fsverity"
)

// Options say what is mounted and how. Only Image is needed. All files stay the caller's, who
// may close them as soon as [Create] or [At] has returned.
type Options struct {
	// Image is the image, open for reading. A name is not needed: it may be unlinked, or
	// in memory.
	Image *os.File
	// ImageName is what errors, the loop device and [List] call the image. Empty means
	// the file's name in errors, and its path as the kernel knows it in List.
	ImageName string
	// Objects are the directories that hold the external files, in the order of search;
	// O_PATH is enough. An image without external files needs none.
	Objects []*os.File

	// Verity is asked of every external file that is opened.
	Verity Verity
	// Digest is the fs-verity digest that the image must have; zero checks nothing. The
	// kernel measures it. It does not imply Verity.
	Digest fsverity.Digest
	// AllowComputed lets Digest be computed from the image's content if its filesystem
	// has no fs-verity, instead of failing with ErrNoVerity. That holds for the moment of
	// mounting only, and reads all of the image.
	AllowComputed bool

	// Upper and Work make the mount writable: what is written goes to Upper, and Work is
	// an empty directory on the same mount. Both or neither. Changing a file's metadata
	// does not copy its data there. Owner and mode of the mount's root directory are those
	// of Upper.
	Upper, Work *os.File
	// Volatile leaves out every sync to Upper, which the kernel then refuses to use again,
	// because it cannot know whether the machine crashed. Who does removes the directory
	// work/incompat/volatile in Work after syncing.
	Volatile bool

	// ReadOnly forbids writing even with Upper. Without Upper nothing can be written anyway.
	ReadOnly bool
	// Nosuid, Nodev, Noexec and Noatime are as in mount(8) and off by default, as there:
	// a root filesystem needs set-user-id programs and devices.
	Nosuid, Nodev, Noexec, Noatime bool

	// UserNS is a user namespace (a file like /proc/PID/ns/user): owners appear as it maps
	// them. Nil shows the owners in the image.
	UserNS *os.File

	ways ways // what tests forbid
}

// name is what errors call the image.
func (o *Options) name() string {
	if o.ImageName != "" {
		return o.ImageName
	}
	return o.Image.Name()
}

// check finds contradictions before anything is tried.
func (o *Options) check() error {
	switch {
	case o.Image == nil:
		return fmt.Errorf("%w: no image", ErrOptions)
	case (o.Upper == nil) != (o.Work == nil):
		return fmt.Errorf("%w: upper and work directory must be given together", ErrOptions)
	case o.Volatile && o.Upper == nil:
		return fmt.Errorf("%w: volatile needs an upper directory", ErrOptions)
	case o.Verity > VerityRequire:
		return fmt.Errorf("%w: %v", ErrOptions, o.Verity)
	}
	for i, dir := range o.Objects {
		if dir == nil {
			return fmt.Errorf("%w: object directory %d is nil", ErrOptions, i)
		}
	}
	return nil
}

// A Mount is a mounted image that has a descriptor and perhaps a place.
type Mount struct {
	file  *os.File
	name  string
	state State
}

// Create mounts an image and leaves the mount detached. It needs root. After an error nothing
// is left behind: no mount, no loop device, no file.
//
// Errors are [ErrOptions], [ErrNotComposefs], [ErrNoVerity], [ErrWrongVerity] or a
// [KernelError], and the context's if it ends first.
func Create(ctx context.Context, opts Options) (*Mount, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	return create(ctx, opts)
}

// At mounts an image on the directory target, following symbolic links. It is [Create] and
// [Mount.Attach], and works besides on kernels that have no detached mounts.
func At(ctx context.Context, opts Options, target string) (State, error) {
	if err := opts.check(); err != nil {
		return State{}, err
	}
	return mountAt(ctx, opts, target)
}

// File returns the descriptor of the mount's root, which stays the Mount's. It can be used
// with openat(2) and be passed on before the mount has a place, or without one.
func (m *Mount) File() *os.File { return m.file }

// State tells what came of the options.
func (m *Mount) State() State { return m.state }

// Attach puts the mount on the open directory target, for everybody to see; O_PATH is enough.
// If it fails, the mount is as before. A Mount can be attached once.
func (m *Mount) Attach(target *os.File) error { return m.attach(target) }

// Close gives up the descriptor. A mount that was attached stays until [Unmount], which finds
// it busy before Close; one that was not goes away with everything that was set up for it.
func (m *Mount) Close() error { return m.file.Close() }
