package erofs

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// loadXattrs gives a node its attributes, and what overlayfs's own ones say in a composefs
// image.
func (l *loader) loadXattrs(node *tree.Inode) error {
	raw, err := l.in.rawXattrs()
	if err != nil {
		return err
	}
	if err := l.charge(uint64(len(raw.inline)+len(raw.shared)) * (xattrCost / 4)); err != nil {
		return err
	}
	l.attrs = l.attrs[:0]
	var overlay overlayXattrs
	for len(raw.inline) > 0 {
		x, skip, reason := raw.next()
		if reason != "" {
			return corruptf(l.in.Nid, l.in.pos, "%s", reason)
		}
		if skip {
			continue
		}
		if l.img.head.present && overlay.take(x) {
			continue
		}
		name, err := l.xattrName(x)
		if err != nil {
			return err
		}
		l.attrs = append(l.attrs, tree.Xattr{Name: name, Value: string(x.value)})
	}
	for ids := raw.shared; len(ids) > 0; ids = ids[4:] {
		if err := l.sharedXattr(le.Uint32(ids), &overlay); err != nil {
			return err
		}
	}
	if l.img.head.present {
		if err := l.undoOverlay(node, &overlay); err != nil {
			return err
		}
	}
	return l.keepXattrs(node)
}

// overlayXattrs are the values of overlayfs's own attributes that say where content is. Nearly
// every file has them, so they are looked at in place.
type overlayXattrs struct {
	metacopy, redirect []byte
	hasRedirect        bool
}

// take keeps the value if x is one of the attributes.
func (o *overlayXattrs) take(x rawXattr) bool {
	if x.index != xattrIndexTrusted {
		return false
	}
	switch string(x.name) {
	case xattrMetacopy[len("trusted."):]:
		o.metacopy = x.value
	case xattrRedirect[len("trusted."):]:
		o.redirect, o.hasRedirect = x.value, true
	default:
		return false
	}
	return true
}

// undoOverlay sets where the content of a file in the store is, unescapes the names in l.attrs
// and drops those that are overlayfs's own.
func (l *loader) undoOverlay(node *tree.Inode, overlay *overlayXattrs) error {
	kept := l.attrs[:0]
	for _, x := range l.attrs {
		if name, keep := unescapeOverlay(x.Name); keep {
			kept = append(kept, tree.Xattr{Name: name, Value: x.Value})
		}
	}
	l.attrs = kept
	if l.img.escapes() {
		l.noteWhiteouts(node)
	}
	if !l.in.isExternal() {
		return nil
	}
	digest, reason := parseMetacopy(overlay.metacopy)
	if reason != "" {
		return corruptf(l.in.Nid, l.in.pos, "%s", reason)
	}
	node.Digest = digest
	if !overlay.hasRedirect {
		node.NoBacking = !digest.IsZero()
		return nil
	}
	if len(overlay.redirect) > 0 && overlay.redirect[0] == '/' {
		l.scratch = digest.AppendObjectPath(l.scratch[:0])
		if bytes.Equal(overlay.redirect[1:], l.scratch) && len(l.scratch) > 0 {
			return nil
		}
	}
	if node.Backing, reason = parseRedirect(string(overlay.redirect)); reason != "" {
		return corruptf(l.in.Nid, l.in.pos, "%s", reason)
	}
	return nil
}

// noteWhiteouts notes a node that has the attributes the writer gives to whiteouts and to their
// directories. What they are is settled when all is loaded.
func (l *loader) noteWhiteouts(node *tree.Inode) {
	has := func(name, value string) bool { return slices.Contains(l.attrs, tree.Xattr{Name: name, Value: value}) }
	switch {
	case l.in.IsRegular() && l.in.Size == 0:
		if has(xattrOverlay+"whiteout", "") && has(xattrUserWhiteout, "") {
			if l.maskedWhiteouts == nil {
				l.maskedWhiteouts = map[*tree.Inode]struct{}{}
			}
			l.maskedWhiteouts[node] = struct{}{}
		}
	case l.in.IsDir():
		if has(xattrOverlay+"whiteouts", "") && has(xattrUserWhiteouts, "") &&
			(l.img.head.format == FormatV0 || has(xattrOpaque, "x") && has(xattrUserOpaque, "x")) {
			l.marked = append(l.marked, node)
		}
	}
}

// keepXattrs copies l.attrs into the node, sorted.
func (l *loader) keepXattrs(node *tree.Inode) error {
	if len(l.attrs) == 0 {
		return nil
	}
	byName := func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) }
	node.Xattrs = l.xattrs.take(len(l.attrs))
	copy(node.Xattrs, l.attrs)
	if !slices.IsSortedFunc(node.Xattrs, byName) {
		slices.SortFunc(node.Xattrs, byName)
		if l.opts.XattrOrder != nil {
			order := l.xattrs.take(len(l.attrs))
			copy(order, l.attrs)
			l.opts.XattrOrder[node] = order
		}
	}
	for i := 1; i < len(node.Xattrs); i++ {
		if node.Xattrs[i].Name == node.Xattrs[i-1].Name {
			return corruptf(l.in.Nid, l.in.pos, "attribute %q is there twice", node.Xattrs[i].Name)
		}
	}
	return nil
}

// sharedXattr appends a shared attribute to l.attrs. Each is read once, but for those that
// overlay takes: they are many, each shared by a few files of equal content.
func (l *loader) sharedXattr(id uint32, overlay *overlayXattrs) error {
	if x, ok := l.shared[id]; ok {
		l.attrs = append(l.attrs, x)
		return nil
	}
	raw, err := l.img.sharedXattr(id)
	if err != nil {
		return err
	}
	if l.img.head.present && overlay.take(raw) {
		return nil
	}
	if err := l.charge(xattrCost*2 + uint64(len(raw.value))); err != nil {
		return err
	}
	name, err := l.xattrName(raw)
	if err != nil {
		return err
	}
	x := tree.Xattr{Name: name, Value: string(raw.value)}
	l.shared[id] = x
	l.attrs = append(l.attrs, x)
	return nil
}

// xattrName is [Image.xattrName], with one string for each name.
func (l *loader) xattrName(x rawXattr) (string, error) {
	if int(x.index) >= len(l.names) {
		return l.img.xattrName(x)
	}
	if name, ok := l.names[x.index][string(x.name)]; ok {
		return name, nil
	}
	name, err := l.img.xattrName(x)
	if err != nil {
		return "", err
	}
	if l.names[x.index] == nil {
		l.names[x.index] = map[string]string{}
	}
	l.names[x.index][string(x.name)] = name
	return name, nil
}
