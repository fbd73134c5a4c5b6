package compress

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// pieceSize is how many plain bytes are compressed by one job at a time, and the most that a chunk of a file has.
const pieceSize = 4 << 20

// A piece is a part of the tar, made of frames.
type piece struct {
	plain  []byte
	frames []frame
	out    []byte
	done   chan struct{} // has a value once out is there
}

// A frame is a part of a piece that becomes one zstd frame: headers, or content. One without bytes
// stands for an entry without content.
type frame struct {
	size        int    // plain bytes
	entry       *Entry // of which it is content, or which has none; nil for headers
	last        bool   // of the entry
	chunkOffset int64
	whole       string // digest of all content, if this is the last of several frames

	outSize int
	sum     [sha256.Size]byte // of content
}

// pieces compresses pieces, several at a time, and writes them in order.
type pieces struct {
	w      io.Writer
	enc    *zstd.Encoder
	toc    *tocWriter
	free   chan *piece
	work   chan *piece
	order  chan *piece
	failed atomic.Bool
	all    sync.WaitGroup

	// The writing goroutine's, and after wait the caller's.
	offset int64
	file   []Entry // what is there of a file of several chunks
	err    error
}

func startPieces(w io.Writer, enc *zstd.Encoder, toc *tocWriter, jobs int) *pieces {
	n := jobs + 2 // one is filled, and one written
	p := &pieces{
		w: w, enc: enc, toc: toc,
		free: make(chan *piece, n), work: make(chan *piece, n), order: make(chan *piece, n),
	}
	for range n {
		p.free <- &piece{done: make(chan struct{}, 1)}
	}
	for range jobs {
		p.all.Go(func() {
			for b := range p.work {
				b.compress(p.enc)
				b.done <- struct{}{}
			}
		})
	}
	p.all.Go(func() {
		for b := range p.order {
			<-b.done
			// After an error the others still have to come by, or nobody could wait for their end.
			if p.err == nil {
				if p.err = p.write(b); p.err != nil {
					p.failed.Store(true)
				}
			}
			p.free <- b
		}
	})
	return p
}

// take returns an empty piece.
func (p *pieces) take() *piece {
	b := <-p.free
	if b.plain == nil {
		b.plain = make([]byte, 0, pieceSize)
	}
	b.plain, b.frames, b.out = b.plain[:0], b.frames[:0], b.out[:0]
	return b
}

// give passes a piece on to be compressed and written.
func (p *pieces) give(b *piece) {
	p.work <- b
	p.order <- b
}

// wait ends the work. No piece may be given after it.
func (p *pieces) wait() error {
	close(p.work)
	close(p.order)
	p.all.Wait()
	return p.err
}

func (b *piece) compress(enc *zstd.Encoder) {
	plain := b.plain
	for i := range b.frames {
		f := &b.frames[i]
		if f.size == 0 {
			continue
		}
		before := len(b.out)
		b.out = enc.EncodeAll(plain[:f.size], b.out)
		f.outSize = len(b.out) - before
		if f.entry != nil {
			f.sum = sha256.Sum256(plain[:f.size])
		}
		plain = plain[f.size:]
	}
}

// write writes a piece, and lists the entries that end in it.
func (p *pieces) write(b *piece) error {
	if _, err := p.w.Write(b.out); err != nil {
		return err
	}
	for i := range b.frames {
		f := &b.frames[i]
		start := p.offset
		p.offset += int64(f.outSize)
		if f.entry == nil {
			continue
		}
		if err := p.list(f, start); err != nil {
			return err
		}
	}
	return nil
}

// list lists an entry, if the frame at start is its last one.
func (p *pieces) list(f *frame, start int64) error {
	switch {
	case f.size == 0:
		return p.toc.add(f.entry)
	case f.last && f.chunkOffset == 0:
		f.entry.Offset, f.entry.EndOffset, f.entry.Digest = start, p.offset, digestString(f.sum[:])
		return p.toc.add(f.entry)
	case f.chunkOffset == 0:
		p.file = append(p.file[:0], *f.entry)
	default:
		p.file = append(p.file, Entry{Type: typeChunk, Name: f.entry.Name, ChunkOffset: f.chunkOffset})
	}
	e := &p.file[len(p.file)-1]
	e.Offset, e.ChunkSize, e.ChunkDigest = start, int64(f.size), digestString(f.sum[:])
	if !f.last {
		return nil
	}
	// Podman takes the end from the last one.
	e.EndOffset = p.offset
	p.file[0].EndOffset, p.file[0].Digest = p.offset, f.whole
	for i := range p.file {
		if err := p.toc.add(&p.file[i]); err != nil {
			return err
		}
	}
	return nil
}

func digestString(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }
