//go:build linux

package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeDump makes a dump of n entries, shaped like an operating system's: out of a hundred
// entries about 10 directories, 12 symlinks, 3 hard links, 6 small files with their content, and
// otherwise files in the store, of which some share an object; every entry has a security label.
// The same n gives the same bytes. A dump that is there already is left alone.
func writeDump(path string, n int) error {
	return ifMissing(path, func(tmp string) error {
		f, err := os.Create(tmp)
		if err != nil {
			return err
		}
		defer f.Close()
		d := dumper{w: bufio.NewWriter(f), rnd: rand.New(rand.NewPCG(1, uint64(n)))}
		fmt.Fprintf(d.w, "/ 4096 40755 2 0 0 0 1700000000.0 - - -%s\n", d.label())
		d.directory("", n-1, 0)
		if err := d.w.Flush(); err != nil {
			return err
		}
		return f.Close()
	})
}

// ifMissing has write make a file under another name, so that one that is there is complete.
func ifMissing(path string, write func(tmp string) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := write(path + ".new"); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return os.Rename(path+".new", path)
}

type dumper struct {
	w       *bufio.Writer
	rnd     *rand.Rand
	serial  int
	digests []string // of objects that may be shared
}

var (
	words      = []string{"lib", "module", "locale", "python", "include", "share", "icons", "doc", "driver", "test", "systemd", "conf"}
	extensions = []string{".so.1", ".py", ".h", ".ko.xz", ".mo", ".png", ".conf", "", ".txt", ".html"}
	labels     = []string{"usr_t", "lib_t", "bin_t", "etc_t", "modules_object_t", "locale_t", "man_t", "systemd_unit_file_t"}
)

// directory writes n entries below the directory at path, by name.
func (d *dumper) directory(path string, n, depth int) {
	lastFile := ""
	for n > 0 {
		n--
		name := fmt.Sprintf("%s/%s%06d", path, words[d.rnd.IntN(len(words))], d.serial)
		d.serial++
		mtime := fmt.Sprintf("%d.%d", 1700000000+d.rnd.IntN(30_000_000), d.rnd.IntN(1_000_000_000))
		kind := d.rnd.IntN(100)
		switch {
		case kind < 10 && depth < 9:
			inside := min(n, d.rnd.IntN(40)+n/8)
			fmt.Fprintf(d.w, "%s 4096 40755 2 0 0 0 %s - - -%s\n", name, mtime, d.label())
			d.directory(name, inside, depth+1)
			n -= inside
		case kind < 22:
			target := fmt.Sprintf("../%s/%s%06d", words[d.rnd.IntN(len(words))], words[d.rnd.IntN(len(words))], d.rnd.IntN(100_000))
			fmt.Fprintf(d.w, "%s %d 120777 1 0 0 0 %s %s - -%s\n", name, len(target), mtime, target, d.label())
		case kind < 25 && lastFile != "":
			fmt.Fprintf(d.w, "%s 0 @100644 1 0 0 0 0.0 %s - -\n", name, lastFile)
		case kind < 31:
			content := fmt.Sprintf("setting=%d\\n", d.rnd.Uint32())
			fmt.Fprintf(d.w, "%s %d 100644 1 0 0 0 %s - %s -%s\n", name, len(content)-1, mtime, content, d.label())
		default:
			name += extensions[d.rnd.IntN(len(extensions))]
			digest := d.digest()
			fmt.Fprintf(d.w, "%s %d 100644 1 %d %d 0 %s %s/%s - %s%s\n", name, 65+d.rnd.IntN(200_000),
				d.rnd.IntN(3), d.rnd.IntN(3), mtime, digest[:2], digest[2:], digest, d.label())
			lastFile = name
		}
	}
}

// digest returns a new one, or one in ten times that of an earlier file.
func (d *dumper) digest() string {
	if len(d.digests) > 0 && d.rnd.IntN(10) == 0 {
		return d.digests[d.rnd.IntN(len(d.digests))]
	}
	var sum [32]byte
	for i := range sum {
		sum[i] = byte(d.rnd.Uint32())
	}
	digest := hex.EncodeToString(sum[:])
	if len(d.digests) < 1000 {
		d.digests = append(d.digests, digest)
	}
	return digest
}

func (d *dumper) label() string {
	return " security.selinux=system_u:object_r:" + labels[d.rnd.IntN(len(labels))] + ":s0\\x00"
}
