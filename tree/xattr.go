package tree

import (
	"slices"
	"strings"
)

// Xattr is one extended attribute. The value is bytes, kept in a string because values (labels
// above all) repeat and can then share memory.
type Xattr struct {
	Name  string // full name, such as "security.selinux"
	Value string
}

func compareXattrName(x Xattr, name string) int { return strings.Compare(x.Name, name) }

// Xattr returns the value of the attribute and whether n has it.
func (n *Inode) Xattr(name string) (string, bool) {
	i, ok := slices.BinarySearchFunc(n.Xattrs, name, compareXattrName)
	if !ok {
		return "", false
	}
	return n.Xattrs[i].Value, true
}

// SetXattr sets or replaces an attribute and keeps the order.
func (n *Inode) SetXattr(name, value string) {
	i, ok := slices.BinarySearchFunc(n.Xattrs, name, compareXattrName)
	if ok {
		n.Xattrs[i].Value = value
		return
	}
	n.Xattrs = slices.Insert(n.Xattrs, i, Xattr{name, value})
}

// RemoveXattr removes an attribute and says whether it was there.
func (n *Inode) RemoveXattr(name string) bool {
	i, ok := slices.BinarySearchFunc(n.Xattrs, name, compareXattrName)
	if ok {
		n.Xattrs = slices.Delete(n.Xattrs, i, i+1)
	}
	return ok
}

// XattrCost is what the attributes of n count against [MaxXattrCost]: 12 once, and for each
// 7 plus the lengths of name and value in bytes. It bounds the space EROFS needs for them
// (lcfs_node_set_xattr of the C library 1.0.8 applies the same rule).
func (n *Inode) XattrCost() int {
	if len(n.Xattrs) == 0 {
		return 0
	}
	cost := 12
	for _, x := range n.Xattrs {
		cost += 7 + len(x.Name) + len(x.Value)
	}
	return cost
}
