package dumpfile

import (
	"bytes"
	"encoding/hex"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// parseData reads payload, content and digest. They must be well formed even where the type
// of the file has no use for them.
func (b *builder) parseData(n *tree.Inode, rdev uint64) error {
	var payload, content []byte
	var err error
	if !isNone(b.fields[fieldPayload]) {
		if payload, err = b.text(&b.payload, fieldPayload); err != nil {
			return err
		}
	}
	hasContent := !isNone(b.fields[fieldContent])
	if hasContent {
		if content, err = unescape(b.content[:0], b.fields[fieldContent]); err != nil {
			return b.errorf("content", "%v", err)
		}
		b.content = content
		if uint64(len(content)) != n.Size {
			return b.errorf("content", "Invalid content size %d, must match size %d", len(content), n.Size)
		}
	}
	digest, err := b.parseDigest()
	if err != nil {
		return err
	}
	switch {
	case n.IsDevice():
		n.Rdev = uint32(rdev)
	case b.opts.Strict && rdev != 0:
		return b.errorf("rdev", "Non-zero devnum on non-device")
	}
	if n.IsSymlink() {
		return b.setTarget(n, payload, content)
	}
	if len(payload) > tree.MaxTarget {
		return b.errorf("payload", "Invalid payload: %d bytes, at most %d are possible", len(payload), tree.MaxTarget)
	}
	if len(content) > tree.MaxInline {
		return b.errorf("content", "Inline content size %d exceeds maximum %d", len(content), tree.MaxInline)
	}
	switch {
	case !n.IsRegular() || n.Size == 0:
		return nil
	case hasContent:
		n.Content = b.arena.copy(content)
		return nil
	}
	return b.setExternal(n, payload, digest)
}

func (b *builder) setTarget(n *tree.Inode, target, content []byte) error {
	if len(target) == 0 || len(target) > tree.MaxTarget {
		return b.errorf("payload", "Invalid symlink: target of %d bytes, want 1 to %d", len(target), tree.MaxTarget)
	}
	if b.opts.Strict {
		if n.Size != uint64(len(target)) {
			return b.errorf("size", "Invalid symlink size %d, must match size %d", n.Size, len(target))
		}
		if len(content) > 0 {
			return b.errorf("content", "Symlink cannot have content")
		}
	}
	n.Size = uint64(len(target))
	n.Target = b.arena.string(target)
	return nil
}

func (b *builder) setExternal(n *tree.Inode, backing []byte, digest fsverity.Digest) error {
	if n.Size > tree.MaxExternalSize {
		return b.errorf("size", "File too large: %d bytes, at most %d are possible", n.Size, uint64(tree.MaxExternalSize))
	}
	if len(b.fields[fieldDigest]) == 0 {
		return b.errorf("digest", "missing; write - for none")
	}
	n.Digest = digest
	b.objectPath = digest.AppendObjectPath(b.objectPath[:0])
	switch {
	case len(backing) == 0:
		n.NoBacking = !digest.IsZero()
	case !bytes.Equal(backing, b.objectPath):
		n.Backing = b.arena.string(backing)
	}
	return nil
}

// parseDigest reads a digest; one that is missing or "-" is zero.
func (b *builder) parseDigest() (fsverity.Digest, error) {
	text := b.fields[fieldDigest]
	if isNone(text) || len(text) == 0 {
		return fsverity.Digest{}, nil
	}
	var sum [64]byte
	if len(text) != 64 && len(text) != 128 {
		return fsverity.Digest{}, b.errorf("digest", "%d characters, want 64 or 128 hex digits or -", len(text))
	}
	size, err := hex.Decode(sum[:], text)
	if err != nil {
		return fsverity.Digest{}, b.errorf("digest", "not hexadecimal: %s", quote(text))
	}
	digest, err := fsverity.DigestFromString(b.arena.string(sum[:size]))
	if err != nil {
		return fsverity.Digest{}, b.errorf("digest", "%v", err)
	}
	return digest, nil
}
