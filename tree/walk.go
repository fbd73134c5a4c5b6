package tree

import "iter"

// Walk visits every entry below root in depth-first order, children by name, a directory
// before what it holds, starting with root itself under the path "/". The path is absolute
// and valid only during the visit: it shares a buffer. Depth is bounded by memory alone.
func Walk(root *Inode) iter.Seq2[[]byte, *Entry] {
	type level struct {
		dir     *Inode
		next    int // index of the child to visit next
		pathLen int // length of the directory's path, without a trailing slash
	}
	return func(yield func([]byte, *Entry) bool) {
		if !yield([]byte("/"), &Entry{Inode: root}) || !root.IsDir() {
			return
		}
		path := make([]byte, 0, 256)
		stack := []level{{dir: root}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.next == len(top.dir.Children) {
				stack = stack[:len(stack)-1]
				continue
			}
			e := &top.dir.Children[top.next]
			top.next++
			path = append(append(path[:top.pathLen], '/'), e.Name...)
			if !yield(path, e) {
				return
			}
			if e.Inode.IsDir() {
				stack = append(stack, level{dir: e.Inode, pathLen: len(path)})
			}
		}
	}
}

// SettleLinks makes the entry of each inode that comes first in depth-first name order the
// inode's own place, and marks the others as links. It is the order that composefs-info prints
// and composefs-rs numbers by.
func SettleLinks(root *Inode) {
	seen := map[*Inode]bool{}
	for _, e := range Walk(root) {
		if e.Name == "" || e.Inode.IsDir() {
			continue
		}
		e.Link = seen[e.Inode]
		seen[e.Inode] = true
	}
}
