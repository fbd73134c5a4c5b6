package repository

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// TestMain runs a process of TestProcessesRace if it was started as one.
func TestMain(m *testing.M) {
	if role := os.Getenv("COMPOSEFS_RACE_ROLE"); role != "" {
		if err := raceProcess(role, os.Getenv("COMPOSEFS_RACE_REPO"), os.Getenv("COMPOSEFS_RACE_SEED")); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// raceTime is how long races last: COMPOSEFS_RACE_TIME, some seconds unless set.
func raceTime(t *testing.T) time.Duration {
	if testing.Short() {
		return time.Second
	}
	d, err := time.ParseDuration(os.Getenv("COMPOSEFS_RACE_TIME"))
	if err != nil {
		return 4 * time.Second
	}
	t.Logf("for %v", d)
	return d
}

// A racer does one kind of thing to a repository again and again.
type racer struct {
	r   *Repository
	rnd *rand.Rand
}

// refs that racers make and remove, and pieces that their files are made of: few, so that they meet.
const (
	raceRefs   = 6
	racePieces = 40
)

func (x *racer) name() string { return "race/" + strconv.Itoa(x.rnd.IntN(raceRefs)) }

// image makes an image of some pieces, straight from memory.
func (x *racer) image(ctx context.Context, tx *Transaction) (fsverity.Digest, error) {
	root := &tree.Inode{Mode: tree.TypeDir | 0o755, Nlink: 2}
	for i := range 1 + x.rnd.IntN(12) {
		data := []byte("piece " + strconv.Itoa(x.rnd.IntN(racePieces)))
		stored, err := tx.Objects().PutBytes(ctx, data)
		if err != nil {
			return fsverity.Digest{}, err
		}
		err = root.Add(tree.Entry{Name: strconv.Itoa(i), Inode: &tree.Inode{
			Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(data)), Digest: stored.Digest,
		}})
		if err != nil {
			return fsverity.Digest{}, err
		}
	}
	return tx.PutTree(ctx, root)
}

// importImage makes an image and gives it a name, or not.
func (x *racer) importImage(ctx context.Context) error {
	tx, err := x.r.Begin(ctx, TransactionOptions{Owner: "race"})
	if err != nil {
		return err
	}
	defer tx.Abort()
	digest, err := x.image(ctx, tx)
	if err != nil {
		return err
	}
	named := x.rnd.IntN(4) > 0
	if named {
		err = tx.TagImage(x.name(), digest)
	}
	if err != nil || x.rnd.IntN(8) == 0 {
		return err // aborted
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	if named {
		return nil
	}
	return x.pick(ctx, digest)
}

// pick uses an image without a name: it opens it, or names it, unless it has been collected.
func (x *racer) pick(ctx context.Context, digest fsverity.Digest) error {
	img, err := x.r.OpenImage(digest.String())
	if err == nil {
		err = x.whole(img)
	} else if err = x.r.TagImage(ctx, x.name(), digest.String()); err == nil {
		return nil
	}
	if gone(err) {
		return nil
	}
	return err
}

// whole reads an image and closes it. While it is open all of it must be there.
func (x *racer) whole(img *Image) (err error) {
	defer func() { err = errors.Join(err, img.Close()) }()
	refs, err := img.Objects()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		f, err := x.r.OpenObject(ref.Digest)
		if err != nil {
			return fmt.Errorf("an open image %s lacks an object: %s", img.Digest, err) //nolint:errorlint // not ErrNotFound
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// untag removes a name.
func (x *racer) untag(ctx context.Context) error {
	if err := x.r.UntagImage(ctx, x.name()); !gone(err) {
		return err
	}
	return nil
}

// retag gives an image another name.
func (x *racer) retag(ctx context.Context) error {
	if err := x.r.TagImage(ctx, x.name(), x.name()); !gone(err) {
		return err
	}
	return nil
}

// read reads a named image.
func (x *racer) read() error {
	img, err := x.r.OpenImage(x.name())
	if gone(err) {
		return nil
	}
	if err == nil {
		err = x.whole(img)
	}
	if gone(err) {
		return nil
	}
	return err
}

// collect collects garbage.
func (x *racer) collect(ctx context.Context) error {
	_, err := x.r.Collect(ctx, CollectOptions{})
	if errors.Is(err, ErrInUse) {
		return nil // another racer does
	}
	return err
}

// run does what a role does until the time is over.
func (x *racer) run(ctx context.Context, role string) (n int, err error) {
	for ctx.Err() == nil && err == nil {
		n++
		switch role {
		case "import":
			err = x.importImage(ctx)
		case "tag":
			if n%2 == 0 {
				err = x.retag(ctx)
			} else {
				err = x.untag(ctx)
			}
		case "read":
			err = x.read()
		case "collect":
			err = x.collect(ctx)
		default:
			return n, fmt.Errorf("no role %q", role)
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	return n, err
}

var raceRoles = []string{"import", "import", "import", "tag", "read", "collect", "collect"}

func TestGoroutinesRace(t *testing.T) {
	path := newRepository(t, fsverity.SHA256).Path()
	ctx, cancel := context.WithTimeout(t.Context(), raceTime(t))
	defer cancel()
	var group sync.WaitGroup
	shared := open(t, path) // by half of them
	for i, role := range raceRoles {
		r := shared
		if i%2 == 1 {
			r = open(t, path)
		}
		x := &racer{r, rand.New(rand.NewPCG(uint64(i), 7))}
		group.Go(func() {
			n, err := x.run(ctx, role)
			if err != nil {
				t.Errorf("%s, round %d: %v", role, n, err)
				cancel()
			}
			t.Logf("%s: %d rounds", role, n)
		})
	}
	group.Wait()
	wantWhole(t, shared)
	collect(t, shared, CollectOptions{})
	wantWhole(t, shared)
}

func raceProcess(role, path, seed string) error {
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	r, err := Open(path, Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		x := &racer{r, rand.New(rand.NewPCG(n, 9))}
		if _, err := x.run(context.Background(), role); err != nil {
			return err
		}
	}
}

// TestProcessesRace has processes do all that at once, and kills them at random to start others.
func TestProcessesRace(t *testing.T) {
	r := newRepository(t, fsverity.SHA256)
	ctx, cancel := context.WithTimeout(t.Context(), raceTime(t))
	defer cancel()
	var group sync.WaitGroup
	for i, role := range raceRoles {
		rnd := rand.New(rand.NewPCG(uint64(i), 11))
		group.Go(func() {
			for ctx.Err() == nil {
				life, stop := context.WithTimeout(ctx, time.Duration(50+rnd.IntN(700))*time.Millisecond)
				cmd := exec.CommandContext(life, os.Args[0])
				cmd.Env = append(os.Environ(), "COMPOSEFS_RACE_ROLE="+role, "COMPOSEFS_RACE_REPO="+r.Path(),
					"COMPOSEFS_RACE_SEED="+strconv.Itoa(rnd.Int()))
				out, err := cmd.CombinedOutput()
				if life.Err() == nil {
					t.Errorf("%s ended: %v\n%s", role, err, out)
					cancel()
				}
				stop()
			}
		})
	}
	group.Wait()
	wantWhole(t, r)
	collect(t, r, CollectOptions{})
	wantWhole(t, r)
	if left, err := r.Leases(); err != nil || len(left) > 0 {
		t.Errorf("leases are left: %v, %v", left, err)
	}
}
