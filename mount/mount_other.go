//go:build !linux

package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// ways are what tests on Linux forbid.
type ways struct{}

var errNotLinux = fmt.Errorf("composefs mounts need Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)

func create(context.Context, Options) (*Mount, error) { return nil, errNotLinux }

func mountAt(context.Context, Options, string) (State, error) { return State{}, errNotLinux }

func (m *Mount) attach(*os.File) error { return errNotLinux }

func list() ([]Info, error) { return nil, errNotLinux }

func unmount(string, UnmountOptions) error { return errNotLinux }

func probe(*os.File) Capabilities {
	return Capabilities{Kernel: []Capability{{CapErofs, No, "Images can be mounted on Linux only.", errNotLinux.Error()}}}
}
