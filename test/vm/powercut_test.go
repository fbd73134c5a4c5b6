package vm

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-composefs/composefs/test/vm/nbd"
)

// powerCuts is how often the power is cut: COMPOSEFS_POWER_CUTS, a few times unless set.
func powerCuts(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("COMPOSEFS_POWER_CUTS")); err == nil {
		return n
	}
	return 8
}

// TestRepositorySurvivesPowerCuts has a guest import, remove and collect until the power of its disk is
// cut, and looks at what is left when it boots again: all that was said to be done, and nothing broken.
func TestRepositorySurvivesPowerCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	needVM(t)
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "powercut")
	build(t, "build", "-tags", "vmguest", "-o", program, "./powercut")
	d := newMachine(t, dir, program)
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("COMPOSEFS_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("COMPOSEFS_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	said := &statements{names: map[string]string{}, open: map[string]bool{}, careless: map[string]bool{}}
	cuts := powerCuts(t)
	for i := range cuts + 1 { // at the end it only looks
		d.run(t, rnd, said, i == cuts)
		if t.Failed() {
			t.Fatalf("after cut %d", i)
		}
	}
	t.Logf("%d flushes, %d sectors were lost; %d images were made, %d names removed, %d collections, %d of %d careless files lost",
		d.disk.Flushes, d.disk.Lost, said.done, said.gone, said.collected, len(said.careless)-said.kept, len(said.careless))
	// A disk that loses nothing, or a workload that does nothing, would prove nothing.
	if d.disk.Lost == 0 || said.done == 0 || said.gone == 0 || said.collected == 0 || said.kept >= len(said.careless) {
		t.Error("nothing was put to the test")
	}
}

// machine is a guest with a disk.
type machine struct {
	program, socket string
	disk            *nbd.Disk
}

func newMachine(t *testing.T, dir, program string) *machine {
	t.Helper()
	image := filepath.Join(dir, "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 192<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "verity", "-E", "lazy_itable_init=1", image)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{program: program, socket: filepath.Join(dir, "nbd"), disk: nbd.New(content)}
	l, err := net.Listen("unix", m.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go m.disk.Serve(l)
	return m
}

// statements are what the guest has said, see its program.
type statements struct {
	mu      sync.Mutex
	dark    bool              // the power is off
	names   map[string]string // digests of the images that the names were said to have
	open    map[string]bool   // names that are being changed
	found   map[string]string // what the names have at the start
	checked bool
	wrong   []string

	done, gone, collected int
	careless              map[string]bool // files that nobody asked to be durable
	kept                  int             // of them
}

// hear takes a line. Also what was said before the power went off and is heard later is true.
func (s *statements) hear(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	name, digest, _ := strings.Cut(rest, " ")
	switch word {
	case "found":
		s.found[name] = digest
	case "checked":
		s.checked = true
		s.compare()
	case "set", "rm":
		s.open[name] = true
	case "done":
		s.names[name] = digest
		delete(s.open, name)
		s.done++
	case "gone":
		delete(s.names, name)
		delete(s.open, name)
		s.gone++
	case "collected":
		s.collected++
	case "careless":
		s.careless[name] = true
	case "kept":
		if s.careless[name] {
			s.kept++
		}
	default:
		if !s.dark {
			s.wrong = append(s.wrong, line)
		}
	}
}

// compare holds what is found at the start against what was said before. Of names that were being changed
// either is right.
func (s *statements) compare() {
	for name, want := range s.names {
		if got := s.found[name]; got != want && !s.open[name] {
			s.wrong = append(s.wrong, fmt.Sprintf("%s is %q, and was said to be %q", name, got, want))
		}
	}
	for name, got := range s.found {
		if s.names[name] == "" && !s.open[name] {
			s.wrong = append(s.wrong, fmt.Sprintf("%s is %q, and was said to be gone", name, got))
		}
	}
	s.names, s.open = maps.Clone(s.found), map[string]bool{}
}

// run boots the guest and cuts its power some time after it has looked at what is there, or at once.
func (m *machine) run(t *testing.T, rnd *rand.Rand, said *statements, atOnce bool) {
	t.Helper()
	said.found, said.checked, said.wrong, said.dark = map[string]string{}, false, nil, false
	drive := "driver=raw,if=none,id=x,cache=writeback,file.driver=nbd,file.server.type=unix,file.server.path=" + m.socket
	cmd := exec.Command("../../scripts/vmtest.sh", "-t", "120", "-s", "64", "-q", "-drive", "-q", drive,
		"-q", "-device", "-q", "virtio-blk-pci,drive=x", "--", m.program, strconv.FormatUint(rnd.Uint64(), 10))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // it is killed, and leaves things
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var cutting sync.Once
	cut := func() {
		cutting.Do(func() {
			said.mu.Lock()
			// Most often a part of what was not flushed is lost, sometimes all or nothing.
			m.disk.Cut(rnd, []float64{0, 0.2, 0.5, 0.8, 1}[rnd.IntN(5)])
			said.dark = true
			said.mu.Unlock()
			time.Sleep(300 * time.Millisecond) // what it has said is on its way
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		})
	}
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // also of half a line
		}
		said.hear(strings.TrimSpace(line))
		if strings.TrimSpace(line) == "checked" {
			wait := time.Duration(200+rnd.IntN(4000)) * time.Millisecond
			if atOnce {
				wait = 0
			}
			time.AfterFunc(wait, cut)
		}
	}
	_ = cmd.Wait() // it was killed, or has told of a problem
	cut()
	m.disk.Restore()
	if !said.checked {
		t.Errorf("the guest did not get so far as to look: %s", &stderr)
	}
	for _, line := range said.wrong {
		t.Error(line)
	}
}
