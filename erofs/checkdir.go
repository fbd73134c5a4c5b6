package erofs

import (
	"github.com/go-composefs/composefs/tree"
)

// directory checks the entries of a directory and adds the inodes that are met first.
func (c *checker) directory(at int, in *Inode) {
	if in.Size == 0 {
		c.report(ProblemDirectory, at, in.pos, "the directory is empty, even of \"..\"")
		return
	}
	last := ""
	var self, up bool
	for i := range in.dirBlocks() {
		if c.done {
			return
		}
		d, err := in.dirBlock(i)
		if err != nil {
			c.failed(ProblemDirectory, at, err)
			return // its size may be anything
		}
		if cost := uint64(len(d.b)); cost > c.budget {
			c.report(ProblemOverlap, at, in.pos, "its directories have more than %d times the bytes of the image", loadFactor)
			c.done = true
			return
		} else {
			c.budget -= cost
		}
		if c.img.head.present && !allZero(d.b[d.end:]) {
			c.report(ProblemDirectory, at, noOffset, "block %d has something behind its last name", i)
		}
		for k := range d.n {
			start, end, ok := d.name(k)
			if !ok {
				c.failed(ProblemDirent, at, in.badName(i, k, start, end))
				continue
			}
			name := string(d.b[start:end])
			if name <= last {
				c.report(ProblemDirectory, at, noOffset, "entry %q comes after %q", name, last)
			}
			last = name
			if c.img.head.present && d.b[k*direntSize+11] != 0 {
				c.report(ProblemDirent, at, noOffset, "the reserved byte of entry %q is not zero", name)
			}
			switch name {
			case ".":
				self = true
				c.dot(at, name, d.nid(k), c.inodes[at].nid, d.fileType(k))
			case "..":
				up = true
				c.dot(at, name, d.nid(k), c.inodes[c.inodes[at].parent].nid, d.fileType(k))
			default:
				c.dirent(at, name, d.nid(k), d.fileType(k))
			}
		}
	}
	if !self && !in.dotOmitted {
		c.report(ProblemDirectory, at, in.pos, "there is no entry \".\"")
	}
	if !up {
		c.report(ProblemDirectory, at, in.pos, "there is no entry \"..\"")
	}
}

// dot checks the entry "." or "..".
func (c *checker) dot(at int, name string, nid, want uint64, fileType byte) {
	if nid != want {
		c.report(ProblemDirent, at, noOffset, "entry %q leads to inode %s, not %s", name, formatNid(nid), formatNid(want))
	}
	if fileType != ftDir {
		c.report(ProblemDirent, at, noOffset, "entry %q has type %d", name, fileType)
	}
}

// dirent checks an entry and what it leads to.
func (c *checker) dirent(at int, name string, nid uint64, fileType byte) {
	if err := tree.CheckName(name); err != nil {
		c.report(ProblemDirent, at, noOffset, "%v", err)
	}
	child, known := c.byNid[nid]
	if !known {
		var in Inode
		err := c.img.readInode(nid, &in)
		if err != nil {
			in = Inode{Nid: nid} // so that it is reported once
		}
		if child = c.add(&in, at, name); err != nil {
			c.failed(ProblemInode, child, err)
		}
	}
	if at == 0 && isStubName(name) {
		c.stubs[name] = child
	}
	n := &c.inodes[child]
	n.refs++
	if n.mode == 0 {
		return
	}
	if want := fileTypeOf(n.mode); fileType != want {
		c.report(ProblemDirent, at, noOffset, "entry %q has type %d, its inode %s has %d", name, fileType, formatNid(nid), want)
	}
	if n.mode&tree.TypeMask != tree.TypeDir {
		return
	}
	if known {
		c.report(ProblemDirLink, child, noOffset, "the directory is also at %s", join(c.path(at), name))
		return
	}
	c.inodes[at].subdirs++
}

// isStubName says whether an entry of the root has one of the names that the writer adds.
func isStubName(name string) bool {
	hex := func(b byte) bool { return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' }
	return len(name) == 2 && hex(name[0]) && hex(name[1])
}

// fileTypeOf returns the type in directory entries.
func fileTypeOf(mode uint32) byte {
	switch mode & tree.TypeMask {
	case tree.TypeRegular:
		return ftRegular
	case tree.TypeDir:
		return ftDir
	case tree.TypeChar:
		return ftChar
	case tree.TypeBlock:
		return ftBlock
	case tree.TypeFIFO:
		return ftFIFO
	case tree.TypeSocket:
		return ftSocket
	case tree.TypeSymlink:
		return ftSymlink
	}
	return 0
}
