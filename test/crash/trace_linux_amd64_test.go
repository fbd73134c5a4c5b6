package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An operation is a system call that changes a file or directory below a directory that is watched.
type operation struct {
	number int    // from 1 on
	name   string // of the system call
}

// A fault is what happens to an operation: it does not take place, and the process is killed or gets
// an error.
type fault struct {
	at  int // the number of the operation; 0 is none
	err syscall.Errno
}

// changing are the system calls that are operations. Each has the descriptor that says where it works
// in this argument, or takes the directory's from there.
var changing = map[uint64]struct {
	name     string
	argument int
}{
	unix.SYS_WRITE:           {"write", 0},
	unix.SYS_PWRITE64:        {"pwrite", 0},
	unix.SYS_FSYNC:           {"fsync", 0},
	unix.SYS_SYNCFS:          {"syncfs", 0},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0},
	unix.SYS_FCHMOD:          {"fchmod", 0},
	unix.SYS_UTIMENSAT:       {"utimensat", 0},
	unix.SYS_MKDIRAT:         {"mkdirat", 0},
	unix.SYS_UNLINKAT:        {"unlinkat", 0},
	unix.SYS_RENAMEAT:        {"renameat", 0},
	unix.SYS_RENAMEAT2:       {"renameat2", 0},
	unix.SYS_LINKAT:          {"linkat", 2},
	unix.SYS_SYMLINKAT:       {"symlinkat", 1},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2},
	unix.SYS_OPENAT:          {"openat", 0}, // if it makes a file
}

// traced runs a program, hurts it as the fault says, and returns the operations that it began and how
// it ended.
func traced(t *testing.T, watched string, hurt fault, argv ...string) ([]operation, syscall.WaitStatus, string) {
	t.Helper()
	// All requests of ptrace(2) must come from the thread that started the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	output, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tr := tracer{pid: cmd.Process.Pid, watched: watched, hurt: hurt, inside: map[int]syscall.Errno{}}
	status, err := tr.run()
	if err != nil {
		t.Fatalf("trace %q: %v", argv, err)
	}
	text, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	return tr.operations, status, string(text)
}

type tracer struct {
	pid        int
	watched    string
	hurt       fault
	operations []operation
	inside     map[int]syscall.Errno // threads that are in a system call, and what it shall give
}

const traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL

// run lets the program run to its end.
func (tr *tracer) run() (syscall.WaitStatus, error) {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(tr.pid, &status, syscall.WALL, nil); err != nil {
		return status, err
	}
	if err := unix.PtraceSetOptions(tr.pid, traceOptions); err != nil {
		return status, err
	}
	if err := unix.PtraceSyscall(tr.pid, 0); err != nil {
		return status, err
	}
	for {
		tid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return status, err
		}
		switch {
		case status.Exited() || status.Signaled():
			if tid == tr.pid {
				return status, nil
			}
			continue
		case !status.Stopped():
			continue
		}
		signal := 0
		switch stop := status.StopSignal(); {
		case stop == syscall.SIGTRAP|0x80:
			if err := tr.systemCall(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return status, err
			}
		case stop == syscall.SIGTRAP || stop == syscall.SIGSTOP && tid != tr.pid:
			// A new thread, or the news of it.
		default:
			signal = int(stop)
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return status, err
		}
	}
}

// systemCall looks at a thread that enters or leaves a system call.
func (tr *tracer) systemCall(tid int) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	if give, leaves := tr.inside[tid]; leaves {
		delete(tr.inside, tid)
		if give == 0 {
			return nil
		}
		regs.Rax = -uint64(give)
		return unix.PtraceSetRegs(tid, &regs)
	}
	tr.inside[tid] = 0
	call, ok := changing[regs.Orig_rax]
	if !ok || !tr.isOperation(regs, call.argument) {
		return nil
	}
	tr.operations = append(tr.operations, operation{len(tr.operations) + 1, call.name})
	if len(tr.operations) != tr.hurt.at {
		return nil
	}
	if tr.hurt.err == 0 {
		return syscall.Kill(tr.pid, syscall.SIGKILL)
	}
	tr.inside[tid] = tr.hurt.err
	regs.Orig_rax = ^uint64(0) // no system call at all
	return unix.PtraceSetRegs(tid, &regs)
}

// isOperation says whether a call changes something below the watched directory.
func (tr *tracer) isOperation(regs unix.PtraceRegs, argument int) bool {
	arguments := [6]uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	if regs.Orig_rax == unix.SYS_OPENAT && arguments[2]&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0 {
		return false
	}
	fd := int32(arguments[argument])
	if fd == unix.AT_FDCWD {
		return regs.Orig_rax != unix.SYS_OPENAT // paths from the root on are rare enough
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tr.pid, fd))
	// What has no name yet is called "/dir/#inode (deleted)".
	return err == nil && (path == tr.watched || strings.HasPrefix(path, tr.watched+"/"))
}

// eachFault runs something with a fault at each operation in turn, until none is left, and calls
// after with what it was. Of many operations only every n-th is hurt unless all is set, but the first and last ones are.
func eachFault(t *testing.T, err syscall.Errno, most int, run func(fault) (done int), after func(fault)) {
	t.Helper()
	total := run(fault{})
	numbers := make([]int, total)
	for i := range numbers {
		numbers[i] = i + 1
	}
	if stride := total/most + 1; stride > 1 && os.Getenv("COMPOSEFS_CRASH_ALL") == "" {
		kept := numbers[:0]
		for _, n := range numbers {
			if n%stride == 0 || n <= 5 || n > total-40 {
				kept = append(kept, n)
			}
		}
		numbers = kept
	}
	slices.Reverse(numbers) // the last ones tell the most
	t.Logf("%d operations, %d of them hurt", total, len(numbers))
	for _, n := range numbers {
		hurt := fault{n, err}
		run(hurt)
		after(hurt)
		if t.Failed() {
			t.Fatalf("with a fault at operation %d of %d (%v)", n, total, err)
		}
	}
}

// absolute returns a path as the kernel says it.
func absolute(t *testing.T, path string) string {
	t.Helper()
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}
