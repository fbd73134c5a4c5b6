package dumpfile

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// The fixed fields of a line.
const (
	fieldPath = iota
	fieldSize
	fieldMode
	fieldNlink
	fieldUID
	fieldGID
	fieldRdev
	fieldMtime
	fieldPayload
	fieldContent
	fieldDigest
	fieldCount
)

var fieldNames = [fieldCount]string{
	"path", "size", "mode", "nlink", "uid", "gid", "rdev", "mtime", "payload", "content", "digest",
}

// maxXattrText is how long the attributes of a line may be as text, in bytes.
const maxXattrText = 65535

func fieldError(field int, format string, args ...any) error {
	return &SyntaxError{Field: fieldNames[field], Reason: fmt.Sprintf(format, args...)}
}

// addLine reads one line and adds its file to the tree.
func (b *builder) addLine(line []byte, complete bool) error {
	b.line++
	if i := bytes.IndexByte(line, 0); i >= 0 {
		return &SyntaxError{Reason: fmt.Sprintf("Invalid embedded NUL character at position %d", i)}
	}
	if b.opts.Strict && !complete {
		return &SyntaxError{Reason: "Missing trailing newline"}
	}
	var fields [fieldCount][]byte
	rest := line
	for i := range fields {
		fields[i], rest = nextField(rest)
	}
	path, err := b.text(&b.path, fields[:], fieldPath)
	if err != nil {
		return err
	}
	if len(path) == 0 {
		return fieldError(fieldPath, "Invalid empty path")
	}
	mode, isLink, err := parseMode(fields[fieldMode])
	if err != nil {
		return err
	}
	n := b.arena.inode()
	n.Mode = mode
	if err := b.place(path, n, isLink); err != nil {
		return err
	}
	if isLink {
		return b.noteLink(n, fields[:])
	}
	if err := parseNumbers(n, fields[:]); err != nil {
		return err
	}
	if err := b.parseData(n, fields[:]); err != nil {
		return err
	}
	return b.parseXattrs(n, rest)
}

// text unescapes a field that must not hold a NUL.
func (b *builder) text(scratch *[]byte, fields [][]byte, field int) ([]byte, error) {
	raw := fields[field]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	text, err := unescape((*scratch)[:0], raw)
	if err != nil {
		return nil, fieldError(field, "%v", err)
	}
	*scratch = text
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fieldError(field, "escaped NUL character")
	}
	return text, nil
}

func parseMode(b []byte) (mode uint32, isLink bool, err error) {
	if isLink = len(b) > 0 && b[0] == '@'; isLink {
		b = b[1:]
	}
	v, err := parseUint(b, 8)
	if err != nil {
		return 0, false, fieldError(fieldMode, "%v", err)
	}
	mode = uint32(v)
	switch mode & tree.TypeMask {
	case tree.TypeRegular, tree.TypeDir, tree.TypeSymlink, tree.TypeBlock, tree.TypeChar,
		tree.TypeSocket, tree.TypeFIFO:
		return mode, isLink, nil
	}
	return 0, false, fieldError(fieldMode, "Invalid mode %o", mode)
}

// parseNumbers reads the fields from size to mtime. As in the C reader, ids keep their low 32
// bits, seconds are signed, and nanoseconds may be a second and more.
func parseNumbers(n *tree.Inode, fields [][]byte) error {
	var v [fieldMtime]uint64
	for field := fieldSize; field < fieldMtime; field++ {
		if field == fieldMode {
			continue
		}
		var err error
		if v[field], err = parseUint(fields[field], 10); err != nil {
			return fieldError(field, "%v", err)
		}
	}
	n.Size = v[fieldSize]
	n.Nlink = uint32(v[fieldNlink])
	n.UID = uint32(v[fieldUID])
	n.GID = uint32(v[fieldGID])
	n.Rdev = uint32(v[fieldRdev])
	sec, nsec, ok := bytes.Cut(fields[fieldMtime], []byte{'.'})
	if !ok {
		return fieldError(fieldMtime, "Invalid integer %s", fields[fieldMtime])
	}
	s, err := parseUint(sec, 10)
	if err != nil {
		return fieldError(fieldMtime, "%v", err)
	}
	ns, err := parseUint(nsec, 10)
	if err != nil {
		return fieldError(fieldMtime, "%v", err)
	}
	n.Mtime = tree.Timespec{Sec: int64(s), Nsec: uint32(ns)}
	return nil
}

// parseData reads payload, content and digest, as far as the file's type has a use for them.
func (b *builder) parseData(n *tree.Inode, fields [][]byte) error {
	var payload, content []byte
	var err error
	if !isNone(fields[fieldPayload]) {
		if payload, err = b.text(&b.payload, fields, fieldPayload); err != nil {
			return err
		}
	}
	hasContent := !isNone(fields[fieldContent])
	if hasContent {
		if content, err = unescape(b.content[:0], fields[fieldContent]); err != nil {
			return fieldError(fieldContent, "%v", err)
		}
		b.content = content
		if uint64(len(content)) != n.Size {
			return fieldError(fieldContent, "Invalid content size %d, must match size %d", len(content), n.Size)
		}
	}
	digest, err := b.parseDigest(fields[fieldDigest])
	if err != nil {
		return err
	}
	if b.opts.Strict && !n.IsDevice() && n.Rdev != 0 {
		return fieldError(fieldRdev, "Non-zero devnum on non-device")
	}
	if !n.IsDevice() {
		n.Rdev = 0
	}
	if n.IsSymlink() {
		return b.setTarget(n, payload, content)
	}
	if len(payload) > tree.MaxTarget {
		return fieldError(fieldPayload, "Invalid payload: %d bytes, at most %d are possible", len(payload), tree.MaxTarget)
	}
	if len(content) > tree.MaxInline {
		return fieldError(fieldContent, "Inline content size %d exceeds maximum %d", len(content), tree.MaxInline)
	}
	switch {
	case !n.IsRegular() || n.Size == 0:
	case hasContent:
		n.Content = bytes.Clone(content)
	default:
		return b.setExternal(n, payload, digest, fields[fieldDigest])
	}
	return nil
}

func (b *builder) setTarget(n *tree.Inode, target, content []byte) error {
	if len(target) == 0 || len(target) > tree.MaxTarget {
		return fieldError(fieldPayload, "Invalid symlink: target of %d bytes, want 1 to %d", len(target), tree.MaxTarget)
	}
	if b.opts.Strict {
		if n.Size != uint64(len(target)) {
			return fieldError(fieldSize, "Invalid symlink size %d, must match size %d", n.Size, len(target))
		}
		if len(content) > 0 {
			return fieldError(fieldContent, "Symlink cannot have content")
		}
	}
	n.Size = uint64(len(target))
	n.Target = b.arena.string(target)
	return nil
}

func (b *builder) setExternal(n *tree.Inode, backing []byte, digest fsverity.Digest, text []byte) error {
	if n.Size > tree.MaxExternalSize {
		return fieldError(fieldSize, "File too large: %d bytes, at most %d are possible", n.Size, uint64(tree.MaxExternalSize))
	}
	if len(text) == 0 {
		return fieldError(fieldDigest, "missing; write - for none")
	}
	n.Digest = digest
	b.digestPath = digest.AppendObjectPath(b.digestPath[:0])
	switch {
	case len(backing) == 0:
		n.NoBacking = !digest.IsZero()
	case !bytes.Equal(backing, b.digestPath):
		n.Backing = b.arena.string(backing)
	}
	return nil
}

// parseDigest reads a digest; one that is missing or "-" is zero.
func (b *builder) parseDigest(text []byte) (fsverity.Digest, error) {
	if isNone(text) || len(text) == 0 {
		return fsverity.Digest{}, nil
	}
	var sum [64]byte
	if len(text) > 2*len(sum) {
		return fsverity.Digest{}, fieldError(fieldDigest, "%d hex digits, want 64 or 128", len(text))
	}
	n, err := hex.Decode(sum[:], text)
	if err != nil {
		return fsverity.Digest{}, fieldError(fieldDigest, "%q is not hexadecimal", text)
	}
	d, err := fsverity.DigestFromString(b.arena.string(sum[:n]))
	if err != nil {
		return fsverity.Digest{}, fieldError(fieldDigest, "%v", err)
	}
	return d, nil
}

// parseXattrs reads the KEY=VALUE pairs at the end of a line.
func (b *builder) parseXattrs(n *tree.Inode, rest []byte) error {
	fail := func(reason string) error { return &SyntaxError{Field: "xattrs", Reason: reason} }
	if len(rest) > maxXattrText {
		return fail("Too many xattrs")
	}
	list := b.xattrs[:0]
	cost := 12
	for len(rest) > 0 {
		var pair []byte
		pair, rest = nextField(rest)
		key, value, ok := bytes.Cut(pair, []byte{'='})
		if !ok {
			return fail("Missing = in xattr")
		}
		name, err := unescape(b.path[:0], key)
		if err != nil {
			return fail(err.Error())
		}
		data, err := unescape(b.content[:0], value)
		if err != nil {
			return fail(err.Error())
		}
		b.path, b.content = name, data
		if bytes.IndexByte(name, 0) >= 0 {
			return fail("escaped NUL character in a name")
		}
		x := tree.Xattr{Name: b.arena.intern(name), Value: b.arena.intern(data)}
		at, found := slices.BinarySearchFunc(list, x.Name, func(x tree.Xattr, name string) int {
			return strings.Compare(x.Name, name)
		})
		if found {
			cost += len(x.Value) - len(list[at].Value)
			list[at] = x
		} else {
			cost += 7 + len(x.Name) + len(x.Value)
			list = slices.Insert(list, at, x)
		}
		if len(name) == 0 || len(name) > tree.MaxXattrName || cost > tree.MaxXattrCost {
			return fail(fmt.Sprintf("Can't set xattr: name of %d bytes, %d bytes in all", len(name), cost))
		}
	}
	b.xattrs = list
	n.Xattrs = b.arena.keepXattrs(list)
	return nil
}
