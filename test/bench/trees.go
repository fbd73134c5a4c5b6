//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// writeTree makes a directory tree of n entries, of which one in 16 is a directory and one in 20
// a symlink; the other files are of log-normal size, 4 KiB in the middle and 57 kB on average,
// and one in ten has the content of an earlier one. A tree that is there already is left alone.
func writeTree(path string, n int) error {
	return ifMissing(path, func(tmp string) error {
		if err := os.RemoveAll(tmp); err != nil {
			return err
		}
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		rnd := rand.New(rand.NewPCG(2, uint64(n)))
		dirs := []string{tmp}
		var seeds [][2]uint64 // of contents that may be used again: size and seed
		buf := make([]byte, 64<<10)
		for i := range n - 1 {
			// Any directory gets directories; the newest get files, as in a walk.
			dir := dirs[rnd.IntN(len(dirs))]
			if i%16 != 0 {
				dir = dirs[len(dirs)-1-min(len(dirs)-1, int(rnd.ExpFloat64()*4))]
			}
			name := filepath.Join(dir, fmt.Sprintf("%s%06d", words[rnd.IntN(len(words))], i))
			switch {
			case i%16 == 0:
				if err := os.Mkdir(name, 0o755); err != nil {
					return err
				}
				dirs = append(dirs, name)
			case i%20 == 1:
				if err := os.Symlink(fmt.Sprintf("../%s%06d", words[rnd.IntN(len(words))], rnd.IntN(n)), name); err != nil {
					return err
				}
			default:
				// sigma 2.3 gives a mean of exp(2.3²/2), 14 times the median.
				size := uint64(min(4096*math.Exp(2.3*rnd.NormFloat64()), 64<<20))
				content := [2]uint64{size, rnd.Uint64()}
				if len(seeds) > 0 && rnd.IntN(10) == 0 {
					content = seeds[rnd.IntN(len(seeds))]
				} else if len(seeds) < 1000 {
					seeds = append(seeds, content)
				}
				if err := writeFile(name, content[0], content[1], buf); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// writeFile fills a new file with size bytes that the seed alone decides.
func writeFile(name string, size, seed uint64, buf []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	random := rand.NewChaCha8(key)
	for size > 0 {
		part := buf[:min(size, uint64(len(buf)))]
		if _, err := random.Read(part); err != nil {
			return err
		}
		if _, err := f.Write(part); err != nil {
			return err
		}
		size -= uint64(len(part))
	}
	return f.Close()
}

// hashAlone reads every file below dir and hashes it in blocks of 4 KiB on all CPUs it may use:
// the least that a program which knows nothing in advance can do for the files' digests.
func hashAlone(dir string) error {
	const block = 4096
	var work errgroup.Group
	names := make(chan string, 1024)
	for range numCPU() {
		work.Go(func() error {
			buf := make([]byte, 64*block)
			for name := range names {
				if err := hashFile(name, buf, block); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			names <- path
		}
		return err
	})
	close(names)
	return errors.Join(err, work.Wait())
}

func hashFile(name string, buf []byte, block int) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		n, err := io.ReadFull(f, buf)
		for part := buf[:n]; len(part) > 0; part = part[min(block, len(part)):] {
			sha256.Sum256(part[:min(block, len(part))])
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
