package flatten_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// generator makes layers at random that composefs-rs takes: parents have entries, and whiteouts come before
// what is new.
type generator struct {
	*rand.Rand
	real  bool     // leaves out what root cannot make on an ordinary filesystem
	dirs  []string // of all layers so far, "" is the root
	files []string // all else
	fresh []string // of this layer
	layer []entry
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// randomImage returns the layers of an image.
func randomImage(t testing.TB, seed uint64, realistic bool) [][]byte {
	t.Helper()
	var tars [][]byte
	rnd := rand.New(rand.NewPCG(seed, 8))
	for _, entries := range randomLayers(seed, realistic) {
		archive := makeTar(t, entries...)
		if rnd.IntN(4) == 0 {
			archive = append(archive, make([]byte, 512*rnd.IntN(20))...)
		}
		tars = append(tars, archive)
	}
	return tars
}

// randomLayers returns their entries, in each layer whiteouts first.
func randomLayers(seed uint64, realistic bool) (list layers) {
	g := &generator{real: realistic, Rand: rand.New(rand.NewPCG(seed, 7)), dirs: []string{""}}
	for i := range 1 + g.IntN(5) {
		g.layer, g.fresh = nil, nil
		if i == 0 {
			for _, name := range [][]string{{"usr"}, {"usr", "run"}, {"run", "usr", "boot", "sysroot"}}[g.IntN(3)] {
				g.add(pick(g, "", "./", "/")+name, tar.Header{Typeflag: tar.TypeDir}, "")
				g.dirs = append(g.dirs, name)
			}
		} else {
			for range g.IntN(8) {
				g.whiteout()
			}
		}
		for range 5 + g.IntN(60) {
			g.entry()
		}
		list = append(list, g.layer)
	}
	return list
}

// fixed says whether a name has to be a directory.
func fixed(name string) bool { return slices.Contains([]string{"usr", "run", "boot", "sysroot"}, name) }

func below(name, dir string) bool { return dir == "" || strings.HasPrefix(name, dir+"/") }

// remove forgets a name, and what is below it.
func (g *generator) remove(name string) {
	gone := func(s string) bool { return s == name || below(s, name) }
	g.dirs = slices.DeleteFunc(g.dirs, func(s string) bool { return s != "" && gone(s) })
	g.files = slices.DeleteFunc(g.files, gone)
}

func (g *generator) touched(name string) bool {
	return slices.ContainsFunc(g.fresh, func(s string) bool { return s == name || below(s, name) })
}

func (g *generator) whiteout() {
	all := slices.Concat(g.dirs[1:], g.files)
	name := all[g.IntN(len(all))]
	if fixed(name) || g.touched(name) {
		return
	}
	if slices.Contains(g.dirs, name) && g.IntN(3) == 0 {
		g.add(name+"/.wh..wh..opq", tar.Header{Typeflag: tar.TypeReg}, "")
		for _, s := range all {
			if below(s, name) {
				g.remove(s)
			}
		}
		return
	}
	g.add(path.Dir("./"+name)+"/.wh."+path.Base(name), tar.Header{Typeflag: tar.TypeReg}, "")
	g.remove(name)
}

// place returns a name that is new, or one that is there already.
func (g *generator) place() string {
	if g.IntN(6) == 0 {
		all := slices.Concat(g.dirs[1:], g.files)
		return all[g.IntN(len(all))]
	}
	dir := g.dirs[g.IntN(len(g.dirs))]
	if g.IntN(2) == 0 {
		dir = g.dirs[len(g.dirs)-1]
	}
	name := fmt.Sprint(pick(g, "a", "b", "é\xff", "x y", "=", strings.Repeat("n", 90), strings.Repeat("n", 240), ".w", "wh."), g.IntN(20))
	return strings.TrimPrefix(dir+"/"+name, "/")
}

func (g *generator) entry() {
	name := g.place()
	keep := fixed(name)
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		g.add(name+pick(g, "", "/"), tar.Header{Typeflag: tar.TypeDir}, "")
		g.files = slices.DeleteFunc(g.files, func(s string) bool { return s == name })
		if !slices.Contains(g.dirs, name) {
			g.dirs = append(g.dirs, name)
		}
		g.fresh = append(g.fresh, name)
		return
	case 4, 5, 6, 7, 8:
		if keep {
			return
		}
		size := pick(g, 0, 1, 2, 63, 64, 65, 66, 511, 512, 513, 4095, 4096, 4097, g.IntN(64), g.IntN(20_000))
		if g.IntN(40) == 0 {
			size = 1<<20 + g.IntN(3) - 1
		}
		content := bytes.Repeat([]byte{byte(g.Uint32())}, size)
		kind := byte(tar.TypeReg)
		if !g.real && g.IntN(4) == 0 {
			kind = tar.TypeCont
		}
		g.add(name, tar.Header{Typeflag: kind}, string(content))
	case 9:
		if keep {
			return
		}
		target := strings.Repeat(pick(g, "t", "../", "/abs/"), 1+g.IntN(pick(g, 3, 90, 200)))
		g.add(name, tar.Header{Typeflag: tar.TypeSymlink, Linkname: target}, "")
	case 10:
		if keep {
			return
		}
		kind := pick[byte](g, tar.TypeChar, tar.TypeBlock, tar.TypeFifo)
		h := tar.Header{Typeflag: kind}
		if kind != tar.TypeFifo {
			h.Devmajor, h.Devminor = pick[int64](g, 1, 255, 256, 4095), pick[int64](g, 0, 3, 255, 256, 1<<20-1)
		}
		g.add(name, h, "")
	default:
		if keep || len(g.files) == 0 {
			return
		}
		target := g.files[g.IntN(len(g.files))]
		if below(target, name) || g.real && target == name {
			return
		}
		g.add(name, tar.Header{Typeflag: tar.TypeLink, Linkname: pick(g, "", "/", "./") + target}, "")
	}
	if !slices.Contains(g.files, name) {
		g.remove(name)
		g.files = append(g.files, name)
	}
	g.fresh = append(g.fresh, name)
}

// add appends an entry with metadata to the layer.
func (g *generator) add(name string, h tar.Header, content string) {
	h.Name = name
	h.Mode = pick[int64](g, 0o644, 0o755, 0o600, 0o4755, 0o1777, 0, 0o7777)
	if g.real { // umoci loses set-id bits with chown
		h.Mode &= 0o1777
	}
	if g.real && h.Typeflag == tar.TypeSymlink {
		h.Mode = 0o777
	}
	h.Uid, h.Gid = g.owner(), g.owner()
	h.ModTime = time.Unix(pick(g, 0, 1, 1_700_000_000+g.Int64N(1000), 1<<33+1), 0)
	switch g.IntN(3) {
	case 0:
		h.Format = tar.FormatPAX
		h.ModTime = h.ModTime.Add(time.Duration(pick(g, 0, 1, 999_999_999, 500_000_000, g.Int64N(1e9))))
		h.PAXRecords = map[string]string{}
		for range g.IntN(4) {
			h.PAXRecords["SCHILY.xattr."+g.xattr()] = pick(g, "", "x", "\x01\x00\xff=\n", strings.Repeat("v", g.IntN(500)))
		}
		for key, value := range h.PAXRecords {
			if value == "" {
				delete(h.PAXRecords, key) // which archive/tar takes for a record to be removed
			}
		}
	case 1:
		h.Format = tar.FormatGNU
		if !g.real {
			h.Uid += int(pick[int64](g, 0, 0, 0, 1<<32))
		}
	}
	if name := h.Name + h.Linkname; h.Format == tar.FormatPAX && strings.ContainsRune(name, 0xff) {
		h.Format = tar.FormatGNU
		h.PAXRecords = nil
		h.ModTime = h.ModTime.Truncate(time.Second)
	}
	if g.IntN(10) == 0 {
		h.Uname, h.Gname = "name", "group"
	}
	g.layer = append(g.layer, entry{h, content})
}

func (g *generator) xattr() string {
	if g.real {
		return pick(g, "trusted.x", "trusted.y", "security.x", "trusted.é")
	}
	return pick(g, "user.a", "user.b", "user.é", "trusted.x", "security.capability", "security.selinux",
		"trusted.overlay.opaque", "user.overlay.opaque", "foo")
}

func (g *generator) owner() int {
	if g.real {
		return int(pick[int64](g, 0, 0, 1000, 65535, 65536, 1<<31))
	}
	return int(pick[int64](g, 0, 0, 0, 1000, 65534, 65535, 65536, 1<<21+1, 1<<31, 1<<32-1))
}
