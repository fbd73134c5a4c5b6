package linux

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// UserNamespace makes a user namespace with the mappings and returns a descriptor of it, as
// mount_setattr(2) wants it for an idmapped mount. Mappings beyond the caller's own ids need
// root.
//
// A namespace is born with a process, so this starts the running program once more, traced:
// the kernel stops it at exec before its first instruction, and it ends there.
func UserNamespace(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	type result struct {
		ns  *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// The tracer is a thread, so all of this belongs to one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		ns, err := userNamespace(uids, gids)
		done <- result{ns, err}
	}()
	r := <-done
	return r.ns, r.err
}

func userNamespace(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"userns"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags:                 syscall.CLONE_NEWUSER,
			UidMappings:                uids,
			GidMappings:                gids,
			GidMappingsEnableSetgroups: os.Geteuid() == 0,
			Ptrace:                     true,
			Pdeathsig:                  syscall.SIGKILL,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		err = fmt.Errorf("make user namespace: %w", err)
	}
	// The first wait reports the stop at exec.
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for {
		var status syscall.WaitStatus
		_, waitErr := syscall.Wait4(pid, &status, 0, nil)
		if errors.Is(waitErr, syscall.EINTR) || waitErr == nil && !status.Signaled() && !status.Exited() {
			continue
		}
		return ns, err
	}
}
