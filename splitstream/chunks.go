package splitstream

import (
	"encoding/binary"
	"iter"

	"github.com/go-composefs/composefs/fsverity"
)

// Chunk is a part of the stream: bytes, or the whole of an object.
type Chunk struct {
	Inline []byte          // valid until the next chunk; empty if the chunk is external
	Object fsverity.Digest // zero if the chunk is inline
}

// Chunks decompresses the stream and returns its chunks in order. A run of inline bytes may
// come as several chunks, wherever they part, and no chunk is empty but for an object of no
// bytes. After an error there is nothing more.
//
// Sizes of objects are not known here: that all chunks together have [Reader.Size] bytes is
// checked by [Reader.WriteTo], and here for what is inline.
func (s *Reader) Chunks() iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		d, err := newDecoder(s.r, "stream", s.info.stream)
		if err != nil {
			yield(Chunk{}, err)
			return
		}
		defer d.release()
		if err := s.chunks(d, yield); err != nil {
			yield(Chunk{}, err)
		}
	}
}

// chunks calls yield for each chunk until it returns false.
func (s *Reader) chunks(d *decoder, yield func(Chunk, error) bool) error {
	// An external chunk has at least a byte of the stream, but for the first use of an empty
	// object. That bounds the chunks of a small file that decompresses without end.
	size, external := s.info.size, int64(0)
	left := size
	for {
		head, err := d.peek(8)
		switch {
		case err != nil:
			return err
		case len(head) == 0:
			if external == 0 && left > 0 {
				return d.corruptf("the stream ends %d bytes before its size of %d", left, size)
			}
			return nil
		case len(head) < 8:
			return d.corruptf("the stream ends inside a chunk")
		}
		n := int64(binary.LittleEndian.Uint64(head))
		if n >= 0 {
			if n >= int64(s.objectRefs.len()) {
				return d.corruptf("index %d of %d object refs", n, s.objectRefs.len())
			}
			external++
			if external-int64(s.objectRefs.len()) > left {
				return d.corruptf("more chunks than a stream of %d bytes can have", size)
			}
			d.use(8)
			if !yield(Chunk{Object: s.objectRefs.at(int(n))}, nil) {
				return nil
			}
			continue
		}
		// -left cannot overflow, where -n can.
		if n < -left {
			return d.corruptf("inline bytes beyond the stream's size of %d", size)
		}
		left += n
		d.use(8)
		for n < 0 {
			p, err := d.next(-n)
			if err != nil {
				return err
			}
			if len(p) == 0 {
				return d.corruptf("the stream ends inside a chunk")
			}
			n += int64(len(p))
			if !yield(Chunk{Inline: p}, nil) {
				return nil
			}
		}
	}
}
