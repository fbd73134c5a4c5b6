//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

func numCPU() int { return runtime.GOMAXPROCS(0) }

// size is the full size of an input, or what stands for it in a quick run.
func (b *bench) size(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// dump returns the path of a dump of n entries.
func (b *bench) dump(n int) (string, error) {
	path := b.path(fmt.Sprintf("dump-%d", n))
	return path, writeDump(path, n)
}

// mkcomposefs returns the two contestants that turn a source into an image, the peer first, and
// the files that they write.
func (b *bench) mkcomposefs(options ...string) (contestants []contestant, images [2]string, err error) {
	images = [2]string{b.path("peer.image"), b.path("ours.image")}
	peer, err := b.peer("mkcomposefs", append(options[:len(options):len(options)], images[0])...)
	if err != nil {
		return nil, images, err
	}
	ours := b.ours("mkcomposefs", append(options[:len(options):len(options)], images[1])...)
	return []contestant{
		{name: "mkcomposefs", commands: []command{{argv: peer}}},
		{name: "ours", commands: []command{{argv: ours}}},
	}, images, nil
}

// peerImage makes an image of the dump with the peer.
func (b *bench) peerImage(dump string) (string, error) {
	image := dump + ".image"
	return image, ifMissing(image, func(tmp string) error {
		argv, err := b.peer("mkcomposefs", "--from-file", dump, tmp)
		if err != nil {
			return err
		}
		_, err = command{argv: argv}.run()
		return err
	})
}

func (b *bench) dumpToImage() error {
	n := b.size(64_000, 2_000)
	dump, err := b.dump(n)
	if err != nil {
		return err
	}
	contestants, images, err := b.mkcomposefs("--from-file", dump)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("dump of %d entries to image", n)
	r, err := b.race(work, 15, contestants...)
	if err != nil {
		return err
	}
	b.judge(work, "at most 0.4 of the time", r[1].ratio(r[0]) <= 0.4, "%.2f", r[1].ratio(r[0]))
	b.judge(work, "no more memory", r[1].medianRSS() <= r[0].medianRSS(), "%s against %s",
		formatBytes(r[1].medianRSS()), formatBytes(r[0].medianRSS()))
	return sameFile(images[0], images[1])
}

func (b *bench) imageToDump() error {
	n := b.size(64_000, 2_000)
	dump, err := b.dump(n)
	if err != nil {
		return err
	}
	image, err := b.peerImage(dump)
	if err != nil {
		return err
	}
	peer, err := b.peer("composefs-info", "dump", image)
	if err != nil {
		return err
	}
	outs := [2]string{b.path("peer.dump"), b.path("ours.dump")}
	work := fmt.Sprintf("image of %d entries to dump", n)
	r, err := b.race(work, 15,
		contestant{name: "composefs-info", commands: []command{{argv: peer, stdout: outs[0]}}},
		contestant{name: "ours", commands: []command{{argv: b.ours("composefs-info", "dump", image), stdout: outs[1]}}})
	if err != nil {
		return err
	}
	b.judge(work, "at most 0.3 of the time", r[1].ratio(r[0]) <= 0.3, "%.2f", r[1].ratio(r[0]))
	return sameFile(outs[0], outs[1])
}

// millionEntries compares the time per entry of a large dump with that of one a tenth its size.
func (b *bench) millionEntries() error {
	sizes := [2]int{b.size(100_000, 2_000), b.size(1_000_000, 20_000)}
	var ours [2]result
	for i, n := range sizes {
		dump, err := b.dump(n)
		if err != nil {
			return err
		}
		contestants, images, err := b.mkcomposefs("--from-file", dump)
		if err != nil {
			return err
		}
		r, err := b.race(fmt.Sprintf("dump of %d entries to image", n), 3, contestants...)
		if err != nil {
			return err
		}
		if err := sameFile(images[0], images[1]); err != nil {
			return err
		}
		ours[i] = r[1]
	}
	growth := ours[1].ratio(ours[0]) * float64(sizes[0]) / float64(sizes[1])
	b.judge(ours[1].work, fmt.Sprintf("linear: an entry takes at most 1.3 times as long as among %d", sizes[0]),
		growth <= 1.3, "%.2f", growth)
	b.judge(ours[1].work, "peak memory under 600 MB", ours[1].medianRSS() < 600e6, "%s", formatBytes(ours[1].medianRSS()))
	return nil
}

// tree returns the directory that the rows with files use.
func (b *bench) tree() (path, title string, err error) {
	n := b.size(73_000, 800)
	path = b.path(fmt.Sprintf("tree-%d", n))
	if err := writeTree(path, n); err != nil {
		return "", "", err
	}
	_, bytes, err := usage(path)
	return path, fmt.Sprintf("directory of %d entries, %s, to image", n, formatBytes(bytes)), err
}

func (b *bench) fullStore() error {
	tree, title, err := b.tree()
	if err != nil {
		return err
	}
	peerStore, ourStore := b.path("peer.store"), b.path("ours.store")
	contestants, images, err := b.mkcomposefsStore(tree, peerStore, ourStore)
	if err != nil {
		return err
	}
	// The round that does not count fills the stores, with the programs that are measured.
	for _, store := range []string{peerStore, ourStore} {
		if err := os.RemoveAll(store); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	work := title + ", store full already"
	r, err := b.race(work, 5, append(contestants,
		contestant{name: "reading and hashing alone", commands: []command{{argv: []string{self, "-hash-alone", tree}}}})...)
	if err != nil {
		return err
	}
	b.judge(work, "at most 0.6 of the time", r[1].ratio(r[0]) <= 0.6,
		"%.2f, which is %.2f of reading and hashing alone", r[1].ratio(r[0]), r[1].ratio(r[2]))
	if err := sameFile(images[0], images[1]); err != nil {
		return err
	}
	return sameStore(peerStore, ourStore)
}

func (b *bench) mkcomposefsStore(tree, peerStore, ourStore string) ([]contestant, [2]string, error) {
	contestants, images, err := b.mkcomposefs(tree)
	if err != nil {
		return nil, images, err
	}
	for i, store := range []string{peerStore, ourStore} {
		argv := &contestants[i].commands[0].argv
		*argv = append(*argv, "--digest-store="+store)
	}
	return contestants, images, nil
}

func (b *bench) freshStore() error {
	tree, title, err := b.tree()
	if err != nil {
		return err
	}
	stores := []string{b.path("peer.fresh"), b.path("ours.fresh"), b.path("copy.fresh")}
	contestants, images, err := b.mkcomposefsStore(tree, stores[0], stores[1])
	if err != nil {
		return err
	}
	contestants = append(contestants, contestant{name: "cp -a and sync -f", commands: []command{
		{argv: []string{"cp", "-a", tree, stores[2]}},
		{argv: []string{"sync", "-f", stores[2]}},
	}})
	for i, store := range stores {
		contestants[i].prepare = func() error { return b.setAside(store) }
	}
	work := title + ", fresh store, durable"
	r, err := b.race(work, 3, contestants...)
	if err != nil {
		return err
	}
	b.judge(work, "at most 0.5 of the time", r[1].ratio(r[0]) <= 0.5, "%.2f", r[1].ratio(r[0]))
	b.judge(work, "no slower than cp -a and sync -f", r[1].ratio(r[2]) <= 1, "%.2f of their time", r[1].ratio(r[2]))
	if err := sameFile(images[0], images[1]); err != nil {
		return err
	}
	if err := sameStore(stores[0], stores[1]); err != nil {
		return err
	}
	return errors.Join(b.setAside(stores...), b.removeAside())
}

// setAside makes way for directories that are written anew. What was there is removed only when the row
// ends: ext4 passes over inodes that were removed in the last minutes, one by one, which can take longer than
// all that is measured. Nothing that an earlier run left to be written counts against the next one.
func (b *bench) setAside(paths ...string) error {
	if err := os.MkdirAll(b.path("aside"), 0o755); err != nil {
		return err
	}
	for _, path := range paths {
		b.aside++
		err := os.Rename(path, filepath.Join(b.path("aside"), strconv.Itoa(b.aside)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return syncFilesystem(b.dir)
}

// removeAside removes what was set aside.
func (b *bench) removeAside() error { return os.RemoveAll(b.path("aside")) }

func (b *bench) mounts() error {
	const work = "mount and umount"
	if os.Geteuid() != 0 {
		b.judge(work, "p50 at most 3 ms above the C helper", false, "not measured: needs root")
		return nil
	}
	store, target := b.path("empty.store"), b.path("mnt")
	for _, dir := range []string{store, target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	var medians []time.Duration
	for _, n := range []int{10, b.size(64_000, 2_000)} {
		dump, err := b.dump(n)
		if err != nil {
			return err
		}
		image, err := b.peerImage(dump)
		if err != nil {
			return err
		}
		args := []string{"-o", "basedir=" + store, image, target}
		peer, err := b.peer("mount.composefs", args...)
		if err != nil {
			return err
		}
		r, err := b.race(fmt.Sprintf("%s, %d entries", work, n), 100,
			contestant{name: "mount.composefs, umount", commands: []command{{argv: peer}, {argv: []string{"umount", target}}}},
			contestant{name: "ours", commands: []command{{argv: b.ours("mount.composefs", args...)}, {argv: b.ours("composefs", "umount", target)}}})
		if err != nil {
			return err
		}
		above := r[1].median() - r[0].median()
		b.judge(r[1].work, "p50 at most 3 ms above the C helper", above <= 3*time.Millisecond, "%+.2f ms", above.Seconds()*1000)
		medians = append(medians, r[1].median())
	}
	growth := medians[1] - medians[0]
	b.judge(work, "constant in the number of files", growth < time.Millisecond/2, "%+.2f ms for the larger image", growth.Seconds()*1000)
	return nil
}

func (b *bench) startUp() error {
	const work = "start-up: composefs version"
	r, err := b.race(work, 200, contestant{name: "ours", commands: []command{{argv: b.ours("composefs", "version")}}})
	if err != nil {
		return err
	}
	b.judge(work, "p50 under 3 ms", r[0].median() < 3*time.Millisecond, "%s", formatDuration(r[0].median()))
	return nil
}
