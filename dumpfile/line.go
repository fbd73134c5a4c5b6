package dumpfile

import (
	"bytes"

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

// isNone says whether a field is the lone dash that stands for "none".
func isNone(field []byte) bool { return len(field) == 1 && field[0] == '-' }

// split cuts a line into its fields; those that are missing are empty. It returns the text of
// the attributes.
func (b *builder) split(line []byte) (xattrs []byte) {
	b.fields = [fieldCount][]byte{}
	for i := range b.fields {
		end := bytes.IndexByte(line, ' ')
		if end < 0 {
			b.fields[i] = line
			return nil
		}
		b.fields[i], line = line[:end], line[end+1:]
	}
	return line
}

// addLine reads one line and adds its file to the tree. Mistakes are looked for in the order
// of the C reader, so that a line with several of them is refused for the same one.
func (b *builder) addLine(line []byte, complete bool) error {
	b.line++
	if b.opts.Strict && !complete {
		return b.errorf("", "Missing trailing newline")
	}
	if i := bytes.IndexByte(line, 0); i >= 0 {
		return b.errorf("", "Invalid embedded NUL character at position %d", i)
	}
	xattrs := b.split(line)
	path, err := b.text(&b.path, fieldPath)
	if err != nil {
		return err
	}
	if len(path) == 0 {
		return b.errorf("path", "Invalid empty path")
	}
	mode, isLink, err := b.parseMode()
	if err != nil {
		return err
	}
	if isLink {
		return b.addLink(path, mode)
	}
	n := b.arena.inode()
	n.Mode = mode
	if _, err := b.place(path, mode, tree.Entry{Inode: n}); err != nil {
		return err
	}
	rdev, err := b.parseNumbers(n)
	if err != nil {
		return err
	}
	if err := b.parseData(n, rdev); err != nil {
		return err
	}
	return b.parseXattrs(n, xattrs)
}

// text unescapes a field that must not hold a NUL. The result may be part of the line, or of
// scratch.
func (b *builder) text(scratch *[]byte, field int) ([]byte, error) {
	raw := b.fields[field]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	text, err := unescape((*scratch)[:0], raw)
	if err != nil {
		return nil, b.errorf(fieldNames[field], "%v", err)
	}
	*scratch = text
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, b.errorf(fieldNames[field], "escaped NUL character")
	}
	return text, nil
}

// parseMode reads the mode and the mark of hard links.
func (b *builder) parseMode() (mode uint32, isLink bool, err error) {
	digits, isLink := bytes.CutPrefix(b.fields[fieldMode], []byte{'@'})
	v, err := parseUint(digits, 8)
	if err != nil {
		return 0, false, b.errorf("mode", "%v", err)
	}
	mode = uint32(v)
	switch mode & tree.TypeMask {
	case tree.TypeRegular, tree.TypeDir, tree.TypeSymlink, tree.TypeBlock, tree.TypeChar,
		tree.TypeSocket, tree.TypeFIFO:
		return mode, isLink, nil
	}
	return 0, false, b.errorf("mode", "Invalid mode %o", mode)
}

// parseNumbers reads the fields from size to mtime, and returns the device number, which may
// not be the file's. As in the C reader, ids keep their low 32 bits and seconds are signed.
func (b *builder) parseNumbers(n *tree.Inode) (rdev uint64, err error) {
	var v [fieldMtime]uint64
	for _, field := range [...]int{fieldSize, fieldNlink, fieldUID, fieldGID, fieldRdev} {
		if v[field], err = parseUint(b.fields[field], 10); err != nil {
			return 0, b.errorf(fieldNames[field], "%v", err)
		}
	}
	n.Size = v[fieldSize]
	n.Nlink = uint32(v[fieldNlink])
	n.UID = uint32(v[fieldUID])
	n.GID = uint32(v[fieldGID])

	secText, nsecText, _ := bytes.Cut(b.fields[fieldMtime], []byte{'.'})
	sec, err := parseUint(secText, 10)
	if err != nil {
		return 0, b.errorf("mtime", "%v", err)
	}
	nsec, err := parseUint(nsecText, 10)
	if err != nil {
		return 0, b.errorf("mtime", "%v after the dot", err)
	}
	if nsec >= 1e9 {
		return 0, b.errorf("mtime", "%d nanoseconds are a second or more", nsec)
	}
	n.Mtime = tree.Timespec{Sec: int64(sec), Nsec: uint32(nsec)}
	return v[fieldRdev], nil
}
