//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/go-composefs/composefs/repository"
)

// writeEvenTree makes a directory of n files of 4 to 64 KiB, 200 in each directory. A tree that is there
// already is left alone.
func writeEvenTree(path string, n int) error {
	return ifMissing(path, func(tmp string) error {
		if err := os.RemoveAll(tmp); err != nil {
			return err
		}
		rnd := rand.New(rand.NewPCG(3, uint64(n)))
		buf := make([]byte, 64<<10)
		for i := range n {
			dir := filepath.Join(tmp, fmt.Sprintf("dir%04d", i/200))
			if i%200 == 0 {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
			size := 4<<10 + rnd.Uint64N(60<<10)
			if err := writeFile(filepath.Join(dir, fmt.Sprintf("file%06d", i)), size, rnd.Uint64(), buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// evenTree returns the directory that the rows with a repository use.
func (b *bench) evenTree() (path, title string, err error) {
	n := b.size(100_000, 1_000)
	path = b.path(fmt.Sprintf("even-%d", n))
	if err := writeEvenTree(path, n); err != nil {
		return "", "", err
	}
	_, bytes, err := usage(path)
	return path, fmt.Sprintf("%d files of 4 to 64 KiB, %s", n, formatBytes(bytes)), err
}

// newRepo makes an empty repository in place of what is there.
func (b *bench) newRepo(path string) error {
	if err := b.setAside(path); err != nil {
		return err
	}
	_, err := repository.Create(path, repository.CreateOptions{Insecure: true})
	return errors.Join(err, syncFilesystem(b.dir))
}

// imports measures importing a directory: into an empty repository, into one that has all of it, and
// into one that has it and remembers the files.
func (b *bench) imports() error {
	tree, title, err := b.evenTree()
	if err != nil {
		return err
	}
	store, repo := b.path("peer.fresh"), b.path("import.repo")
	peer, err := b.peer("mkcomposefs", "--digest-store="+store, tree, b.path("peer.image"))
	if err != nil {
		return err
	}
	ours := b.ours("composefs", "import", "--quiet", "--repo", repo, tree, "tree")
	work := "import of " + title + ", empty repository, durable"
	r, err := b.race(work, 3,
		contestant{name: "mkcomposefs", commands: []command{{argv: peer}}, prepare: func() error { return b.setAside(store) }},
		contestant{name: "ours", commands: []command{{argv: ours}}, prepare: func() error { return b.newRepo(repo) }})
	if err != nil {
		return err
	}
	b.judge(work, "at most 0.4 of the time", r[1].ratio(r[0]) <= 0.4, "%.2f", r[1].ratio(r[0]))
	if err := holdsStore(filepath.Join(repo, "objects"), store); err != nil {
		return err
	}
	if err := errors.Join(b.setAside(store), b.removeAside()); err != nil {
		return err
	}
	if err := b.importAgain(tree, title, repo); err != nil {
		return err
	}
	return os.RemoveAll(repo)
}

func (b *bench) importAgain(tree, title, repo string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ours := b.ours("composefs", "import", "--quiet", "--repo", repo, tree, "tree")
	work := "import of " + title + ", all present"
	r, err := b.race(work, 5,
		contestant{name: "reading and hashing alone", commands: []command{{argv: []string{self, "-hash-alone", tree}}}},
		contestant{name: "ours", commands: []command{{argv: ours}}})
	if err != nil {
		return err
	}
	b.judge(work, "at least 0.8 of the speed of reading and hashing alone", r[1].ratio(r[0]) <= 1/0.8,
		"%.2f", 1/r[1].ratio(r[0]))

	cached := append(ours[:len(ours):len(ours)], "--cache")
	work = "import of " + title + ", all present, unchanged files remembered"
	r, err = b.race(work, 5,
		contestant{name: "find -printf", commands: []command{{
			argv: []string{"find", tree, "-printf", "%D %i %s %T@ %C@ %p\n"}, stdout: b.path("find.out"),
		}}},
		contestant{name: "ours", commands: []command{{argv: cached}}})
	if err != nil {
		return err
	}
	b.judge(work, "at most 3 times a find -printf", r[1].ratio(r[0]) <= 3, "%.2f", r[1].ratio(r[0]))
	return b.opening(repo)
}

// opening measures how long a program takes to open a repository and find an image, without starting.
func (b *bench) opening(repo string) error {
	const work = "open a repository and resolve a ref"
	res := result{work: work, name: "ours, within a process"}
	for range b.size(1000, 10) {
		start := time.Now()
		r, err := repository.Open(repo, repository.Options{})
		if err != nil {
			return err
		}
		_, err = r.ResolveImage("tree")
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		res.samples = append(res.samples, sample{wall: time.Since(start)})
	}
	b.runs = append(b.runs, res)
	b.judge(work, "under 5 ms", res.median() < 5*time.Millisecond, "%s", formatDuration(res.median()))
	return nil
}

// holdsStore fails unless a store has all objects of another one, in the same sizes.
func holdsStore(all, part string) error {
	names, _, err := usage(part)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s is empty", part)
	}
	for _, name := range names {
		want, err := os.Stat(filepath.Join(part, name))
		if err != nil {
			return err
		}
		got, err := os.Stat(filepath.Join(all, name))
		if err != nil {
			return err
		}
		if got.Size() != want.Size() {
			return fmt.Errorf("object %s has %d bytes in %s and %d in %s", name, got.Size(), all, want.Size(), part)
		}
	}
	return nil
}

// scrub measures fsck, which reads everything.
func (b *bench) scrub() error {
	tree, title, err := b.evenTree()
	if err != nil {
		return err
	}
	repo := b.path("scrub.repo")
	if err := b.newRepo(repo); err != nil {
		return err
	}
	fill := command{argv: b.ours("composefs", "import", "--quiet", "--repo", repo, tree, "tree")}
	if _, err := fill.run(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	work := "fsck of a repository with " + title
	r, err := b.race(work, 5,
		contestant{name: "reading and hashing alone", commands: []command{{argv: []string{self, "-hash-alone", filepath.Join(repo, "objects")}}}},
		contestant{name: "ours", commands: []command{{argv: b.ours("composefs", "fsck", "--quiet", "--repo", repo)}}})
	if err != nil {
		return err
	}
	b.judge(work, "at least 0.8 of the speed of reading and hashing alone", r[1].ratio(r[0]) <= 1/0.8,
		"%.2f", 1/r[1].ratio(r[0]))
	return errors.Join(b.setAside(repo), b.removeAside())
}
