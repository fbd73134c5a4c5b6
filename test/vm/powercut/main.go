//go:build vmguest

// Command powercut is what runs in the virtual machine whose power is cut: it looks at the repository
// that earlier runs have left on a disk, and goes on changing it until the power is gone. What it does
// it tells on standard output, a line for each step:
//
//	found NAME DIGEST     a name of the repository, at the start
//	problem TEXT          something is wrong with the repository
//	checked               all of it was looked at
//	set NAME              the name is about to be given to another image
//	done NAME DIGEST      it was, and what was told before will be found after a power cut
//	rm NAME               the name is about to be removed
//	gone NAME             it was
//	collected             garbage was
//	careless NAME         a file was written that nobody asked to be durable
//	kept NAME             one of these was there, at the start
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// The disk, where it is mounted, and what is on it.
const (
	device = "/dev/vdb"
	place  = "/mnt"
	repo   = place + "/repo"
	names  = 6
)

func main() {
	seed, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err == nil {
		err = run(seed)
	}
	fmt.Println("problem", strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
	os.Exit(1)
}

var output sync.Mutex

func tell(words ...any) {
	output.Lock()
	defer output.Unlock()
	fmt.Println(words...)
}

func run(seed uint64) error {
	if err := unix.Mount(device, place, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if left, err := fs.Glob(os.DirFS(place), "careless*"); err == nil {
		for _, name := range left {
			info, err := os.Stat(place + "/" + name)
			if err == nil && info.Size() > 0 {
				tell("kept", name)
			}
			_ = os.Remove(place + "/" + name)
		}
	}
	if _, err := repository.Create(repo, repository.CreateOptions{}); err != nil {
		return err
	}
	r, err := repository.Open(repo, repository.Options{})
	if err != nil {
		return err
	}
	if err := look(r); err != nil {
		return err
	}
	return change(r, seed)
}

// look tells what is there and what is wrong with it.
func look(r *repository.Repository) error {
	images, err := r.Images()
	if err != nil {
		return err
	}
	for _, img := range images {
		for _, name := range img.Refs {
			tell("found", name, img.Digest)
		}
	}
	found, err := r.Check(context.Background(), repository.CheckOptions{FromDisk: true})
	if err != nil {
		return err
	}
	for _, p := range found.Problems {
		if !p.Note {
			tell("problem", p.Kind, p.Path, p.Object, p.Detail)
		}
	}
	tell("checked")
	return nil
}

// change imports, removes and collects, all at once, for ever.
func change(r *repository.Repository, seed uint64) error {
	failed := make(chan error)
	for i := range 2 {
		go func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			// Each has names of its own, so that what it tells of them is in order.
			name := func() string { return fmt.Sprintf("image/%d", rnd.IntN(names/2)*2+i) }
			for {
				var err error
				if rnd.IntN(4) == 0 {
					err = untag(r, name())
				} else {
					err = importImage(r, rnd, name())
				}
				if err != nil {
					failed <- err
				}
			}
		}()
	}
	go func() {
		for {
			if _, err := r.Collect(context.Background(), repository.CollectOptions{}); err != nil {
				failed <- err
			}
			tell("collected")
		}
	}()
	go func() {
		for i := 0; ; i++ {
			name := fmt.Sprintf("careless%d-%d", seed, i)
			if err := os.WriteFile(place+"/"+name, make([]byte, 10_000), 0o600); err != nil {
				failed <- err
			}
			tell("careless", name)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return <-failed
}

func untag(r *repository.Repository, name string) error {
	tell("rm", name)
	if err := r.UntagImage(context.Background(), name); err != nil && !errors.Is(err, repository.ErrNotFound) {
		return err
	}
	tell("gone", name)
	return nil
}

// importImage makes an image of some of few files, so that images share them, also with those that are
// being collected.
func importImage(r *repository.Repository, rnd *rand.Rand, name string) error {
	ctx := context.Background()
	tx, err := r.Begin(ctx, repository.TransactionOptions{})
	if err != nil {
		return err
	}
	defer tx.Abort()
	root := &tree.Inode{Mode: tree.TypeDir | 0o755}
	for i := range 1 + rnd.IntN(8) {
		data := fileOf(rnd.IntN(30))
		stored, err := tx.Objects().PutBytes(ctx, data)
		if err != nil {
			return err
		}
		err = root.Add(tree.Entry{Name: strconv.Itoa(i), Inode: &tree.Inode{
			Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: uint64(len(data)), Digest: stored.Digest,
		}})
		if err != nil {
			return err
		}
	}
	digest, err := tx.PutTree(ctx, root)
	if err == nil {
		err = tx.TagImage(name, digest)
	}
	if err != nil || rnd.IntN(8) == 0 {
		return err // aborted
	}
	tell("set", name)
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	tell("done", name, digest)
	return nil
}

// fileOf returns the content of the i-th file: from 100 bytes to 100 KiB.
func fileOf(i int) []byte {
	data := make([]byte, 100<<(i%11))
	rnd := rand.New(rand.NewPCG(uint64(i), 1))
	for k := range data {
		data[k] = byte(rnd.Uint32())
	}
	return data
}
