package repository

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

// interopTime is how long races with cfsctl last: COMPOSEFS_RACE_TIME, ten seconds unless set.
func interopTime(t *testing.T) time.Duration {
	if testing.Short() {
		return 2 * time.Second
	}
	if os.Getenv("COMPOSEFS_RACE_TIME") == "" {
		return 10 * time.Second
	}
	return raceTime(t)
}

// An owner has names in a repository that nobody else changes, so what they stand for must always be
// there, whoever collects garbage. What its images and streams are made of others have as well.
type owner struct {
	racer
	id     int
	images map[string]fsverity.Digest
	stream string // the name of one, if it has one
	lost   int    // transactions that another collector came in between
}

func newOwner(r *Repository, id int) *owner {
	return &owner{racer{r, rand.New(rand.NewPCG(uint64(id), 13))}, id, map[string]fsverity.Digest{}, "", 0}
}

// change makes an image and a stream, or removes a name.
func (o *owner) change(ctx context.Context) error {
	name := fmt.Sprintf("owner/%d/%d", o.id, o.rnd.IntN(4))
	if _, ok := o.images[name]; ok && o.rnd.IntN(3) == 0 {
		delete(o.images, name)
		return o.r.UntagImage(ctx, name)
	}
	tx, err := o.r.Begin(ctx, TransactionOptions{Owner: "owner"})
	if err != nil {
		return err
	}
	defer tx.Abort()
	digest, err := o.image(ctx, tx)
	if err != nil {
		return err
	}
	if err := tx.TagImage(name, digest); err != nil {
		return err
	}
	stream := fmt.Sprintf("owner/%d", o.id)
	if err := o.putStream(ctx, tx, stream); err != nil {
		return err
	}
	if err := tx.Commit(ctx); errors.Is(err, ErrCollected) {
		o.lost++
		return nil
	} else if err != nil {
		return err
	}
	o.images[name], o.stream = digest, stream
	return nil
}

// putStream puts a stream of some pieces that names another one, and gives it a name.
func (o *owner) putStream(ctx context.Context, tx *Transaction, name string) error {
	var id string
	var before fsverity.Digest
	for range 2 {
		w := splitstream.NewWriter(splitstream.WriterOptions{Algorithm: o.r.Algorithm(), ContentType: splitstream.Blob})
		piece := []byte("piece " + strconv.Itoa(o.rnd.IntN(racePieces)))
		stored, err := tx.Objects().PutBytes(ctx, piece)
		if err != nil {
			return err
		}
		w.Object(stored.Digest, int64(len(piece)))
		if !before.IsZero() {
			w.NamedRef("before", before)
		}
		id = fmt.Sprintf("owner-%d-%d", o.id, o.rnd.IntN(10))
		if before, err = tx.PutStream(ctx, id, w); err != nil {
			return err
		}
	}
	return tx.TagStream(name, id)
}

// check reads everything that the owner has a name for.
func (o *owner) check(ctx context.Context) error {
	for name, want := range o.images {
		digest, err := o.r.ResolveImage(name)
		if err != nil {
			return err
		}
		if digest != want {
			return fmt.Errorf("%s is %s, not %s", name, digest, want)
		}
		refs, err := o.r.imageObjects(digest)
		if err != nil {
			return err
		}
		for _, ref := range append(refs, ObjectRef{Digest: digest}) {
			if err := o.r.objects.Verify(ctx, ref.Digest); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if o.stream == "" {
		return nil
	}
	s, err := o.r.OpenStream("refs/" + o.stream)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, ref := range s.NamedRefs() {
		if err := o.r.objects.Verify(ctx, ref.Digest); err != nil {
			return fmt.Errorf("%s: %w", o.stream, err)
		}
	}
	_, err = s.Copy(ctx, &strings.Builder{})
	return err
}

// loop does something again and again, until the context ends or it fails.
func loop(ctx context.Context, t *testing.T, cancel func(), what string, do func() error) (n int) {
	for ctx.Err() == nil {
		n++
		if err := do(); err != nil && ctx.Err() == nil {
			t.Errorf("%s, round %d: %v", what, n, err)
			cancel()
		}
	}
	return n
}

// collectUnlessUsed collects garbage, and counts it unless somebody has the repository open.
func collectUnlessUsed(ctx context.Context, r *Repository, count *atomic.Int64) error {
	_, err := r.Collect(ctx, CollectOptions{Wait: time.Second})
	if err == nil {
		count.Add(1)
	}
	if errors.Is(err, ErrInUse) {
		return nil
	}
	return err
}

func TestTransactionsRaceWithCollectorsOfBoth(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	c := newCfsctl(t, r.Path())
	ctx, cancel := context.WithTimeout(t.Context(), interopTime(t))
	defer cancel()
	var group sync.WaitGroup
	var ours, theirs atomic.Int64
	for id := range 3 {
		o := newOwner(open(t, r.Path()), id)
		group.Go(func() {
			n := loop(ctx, t, cancel, "owner", func() error {
				if err := o.change(ctx); err != nil {
					return err
				}
				return o.check(ctx)
			})
			t.Logf("owner: %d changes, %d transactions were lost", n, o.lost)
		})
	}
	group.Go(func() {
		loop(ctx, t, cancel, "cfsctl gc", func() error {
			_, err := output(c.commandUntil(ctx, "gc"), nil)
			if err == nil {
				theirs.Add(1)
			}
			return err
		})
	})
	group.Go(func() {
		loop(ctx, t, cancel, "collect", func() error { return collectUnlessUsed(ctx, r, &ours) })
	})
	group.Wait()
	t.Logf("collected %d times, cfsctl %d times", ours.Load(), theirs.Load())
	if ours.Load() == 0 || theirs.Load() == 0 {
		t.Error("a collector never got to work")
	}
	wantSoundAfterRace(t, r, c)
}

// commandUntil is command, killed when the context ends.
func (c cfsctl) commandUntil(ctx context.Context, args ...string) *exec.Cmd {
	cmd := c.command(args...)
	until := exec.CommandContext(ctx, c.program)
	until.Args, until.Env = cmd.Args, cmd.Env
	return until
}

// wantSoundAfterRace fails unless both implementations find the repository whole, before and after both
// have collected what the race has left.
func wantSoundAfterRace(t *testing.T, r *Repository, c cfsctl) {
	t.Helper()
	check := func() {
		wantWhole(t, r)
		wantStreams(t, r)
	}
	check()
	if leases, err := r.Leases(); err != nil || len(leases) > 0 {
		t.Errorf("leases are left: %v, %v", leases, err)
	}
	collect(t, r, CollectOptions{})
	check()
	c.wantSound(t)
	if got := c.run(t, "gc"); !strings.Contains(got, "Objects: 0 removed") {
		t.Errorf("cfsctl finds garbage after a collection: %s", got)
	}
	check()
}

func TestCollectRacesWithImportsOfCfsctl(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	c := newCfsctl(t, r.Path())
	ctx, cancel := context.WithTimeout(t.Context(), interopTime(t))
	defer cancel()
	var group sync.WaitGroup
	var collections atomic.Int64
	for id := range 2 {
		rnd := rand.New(rand.NewPCG(uint64(id), 17))
		dir := t.TempDir()
		group.Go(func() {
			n := loop(ctx, t, cancel, "cfsctl", func() error { return importByCfsctl(ctx, c, rnd, dir, id) })
			t.Logf("cfsctl: %d imports", n)
		})
		reader := open(t, r.Path())
		group.Go(func() {
			loop(ctx, t, cancel, "read", func() error { return readOf(ctx, reader, id) })
		})
	}
	group.Go(func() {
		loop(ctx, t, cancel, "collect", func() error { return collectUnlessUsed(ctx, r, &collections) })
	})
	group.Wait()
	t.Logf("collected %d times", collections.Load())
	if collections.Load() == 0 {
		t.Error("never got to collect")
	}
	// What was killed in the end may have left anything that is not named.
	wantSoundAfterRace(t, r, c)
}

// importByCfsctl has cfsctl import a directory or a layer of pieces that others import as well.
func importByCfsctl(ctx context.Context, c cfsctl, rnd *rand.Rand, dir string, id int) error {
	piece := func() []byte { return []byte(strings.Repeat("piece "+strconv.Itoa(rnd.IntN(racePieces)), 100)) }
	for i := range 4 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), piece(), 0o644); err != nil {
			return err
		}
	}
	args := []string{"create-image", "--no-propagate-usr-to-root", dir}
	if rnd.IntN(4) > 0 {
		args = append(args, fmt.Sprintf("owner/%d", id)) // else it is garbage at once
	}
	_, err := output(c.commandUntil(ctx, args...), nil)
	return err
}

// readOf reads the image that importByCfsctl names. Which one that is may change meanwhile; it is told
// from a loss by trying again.
func readOf(ctx context.Context, r *Repository, id int) error {
	name := fmt.Sprintf("owner/%d", id)
	digest, err := r.ResolveImage(name)
	if gone(err) {
		return nil // not yet
	}
	if err != nil {
		return err
	}
	refs, err := r.imageObjects(digest)
	for _, ref := range append(refs, ObjectRef{Digest: digest}) {
		if err == nil {
			err = r.objects.Verify(ctx, ref.Digest)
		}
	}
	if err == nil {
		return nil
	}
	if now, errNow := r.ResolveImage(name); errNow != nil || now != digest {
		return errNow
	}
	return fmt.Errorf("%s: %w", name, err)
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() (bool, error)) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		ok, err := so()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		if err := pause(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts cfsctl, which is killed at the end of the test if it still runs.
func (c cfsctl) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := c.commandUntil(t.Context(), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestCfsctlTransactionKeepsCollectOutButNotImports(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	c := newCfsctl(t, r.Path())
	importFiles(t, r, files{"a": "garbage"})
	cmd := c.start(t, "transaction")
	dir, err := os.Open(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	waitFor(t, "cfsctl has its lock", func() (bool, error) {
		free, err := tryFlock(dir, exclusive)
		if free {
			err = dropFlock(dir)
		}
		return !free, err
	})
	if _, err := r.Collect(t.Context(), CollectOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("collect: %v, want ErrInUse", err)
	}
	wantHas(t, r, "garbage", true)
	if got := collect(t, r, CollectOptions{DryRun: true}); got.Objects != 2 {
		t.Errorf("a dry run finds %+v", got)
	}
	importFiles(t, r, files{"a": "new"}, "new")
	wantWhole(t, r)
	if err := errors.Join(cmd.Process.Kill(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if got := collect(t, r, CollectOptions{}); got.Objects != 2 {
		t.Errorf("removed %+v when it was gone", got)
	}
	wantWhole(t, r)
	c.wantSound(t)
}

func TestCfsctlCollectorWaitsForTransactionsAndLeases(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, r *Repository) (end func() error){
		"transaction": func(t *testing.T, r *Repository) func() error {
			tx := begin(t, r)
			digest := putFiles(t, tx, files{"a": "content"})
			return func() error {
				return errors.Join(tx.TagImage("name", digest), tx.Commit(t.Context()))
			}
		},
		"lease": func(t *testing.T, r *Repository) func() error {
			digest := importFiles(t, r, files{"a": "content"})
			lease, err := r.NewLease(t.Context(), "test", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := lease.Keep(digest); err != nil {
				t.Fatal(err)
			}
			return func() error {
				return errors.Join(r.TagImage(t.Context(), "name", digest.String()), lease.Release())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, fsverity.SHA256)
			c := newCfsctl(t, r.Path())
			importFiles(t, r, files{"a": "garbage"})
			end := hold(t, r)
			cmd := c.start(t, "gc")
			waitFor(t, "cfsctl waits for the lock", func() (bool, error) { return waitsForLock(cmd.Process.Pid) })
			// A collector of ours gives up: cfsctl is there, if only to wait.
			wantHas(t, r, "garbage", true)
			wantHas(t, r, "content", true)
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			wantHas(t, r, "garbage", false)
			wantHas(t, r, "content", true)
			wantWhole(t, r)
			c.wantSound(t)
		})
	}
}

// waitsForLock says whether a process waits for a lock of a file.
func waitsForLock(pid int) (bool, error) {
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(locks)) {
		if f := strings.Fields(line); len(f) > 5 && f[1] == "->" && f[5] == strconv.Itoa(pid) {
			return true, nil
		}
	}
	return false, nil
}

// TestTransactionsWaitWhileCfsctlCollects holds the lock as cfsctl's collector does while it works.
func TestTransactionsWaitWhileCfsctlCollects(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	dir, err := os.Open(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Begin(ctx, TransactionOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("begin: %v, want to wait until the context ends", err)
	}
	if left, err := r.Leases(); err != nil || len(left) > 0 {
		t.Errorf("leases are left: %v, %v", left, err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	importFiles(t, r, files{"a": "content"}, "name")
}
