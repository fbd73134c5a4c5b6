package layer

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// pieces stores the content of files, several at once, and hands the pieces of the tar to the stream in
// their order.
type pieces struct {
	ctx     context.Context //nolint:containedctx // that of one call of Read
	store   Store
	workers *errgroup.Group

	// order is nil if there is no stream.
	order   chan *piece
	written chan struct{}
}

// piece is a part of the tar: inline bytes, or an object.
type piece struct {
	inline []byte
	size   int64

	// done is closed when digest is known, or remains zero after an error. It is nil for inline
	// bytes.
	done   chan struct{}
	digest fsverity.Digest
}

// piecesAhead is how many pieces may wait for those before them.
const piecesAhead = 256

func startPieces(ctx context.Context, opts Options) *pieces {
	p := &pieces{store: opts.Store}
	p.workers, p.ctx = errgroup.WithContext(ctx)
	p.workers.SetLimit(opts.Jobs)
	if opts.Stream != nil {
		p.order, p.written = make(chan *piece, piecesAhead), make(chan struct{})
		go p.write(opts.Stream)
	}
	return p
}

// write writes the pieces into the stream as they get done.
func (p *pieces) write(w *splitstream.Writer) {
	defer close(p.written)
	for piece := range p.order {
		if piece.done == nil {
			_, _ = w.Write(piece.inline) // the error stays in w
			continue
		}
		<-piece.done
		if !piece.digest.IsZero() {
			w.Object(piece.digest, piece.size)
		}
	}
}

// wait waits until everything is stored and written, and returns why something was not stored.
func (p *pieces) wait() error {
	err := p.workers.Wait()
	if p.order != nil {
		close(p.order)
		<-p.written
	}
	return err
}

// inline takes inline bytes, which are not the caller's any more.
func (p *pieces) inline(data []byte) {
	if len(data) > 0 {
		p.order <- &piece{inline: data}
	}
}

// Files up to smallMax bytes are read into memory and stored while the next ones are read.
const smallMax = 1 << 20

var buffers = sync.Pool{New: func() any { return new([smallMax]byte) }}

// object stores the content of a file, which r has next, and makes it a piece of the stream if it is
// to be external there.
func (p *pieces) object(r io.Reader, n *tree.Inode, external bool) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	part := &piece{size: int64(n.Size), done: make(chan struct{})}
	if part.size > smallMax {
		defer close(part.done)
		stored, err := p.store.PutReader(p.ctx, &exactly{r, part.size})
		if err != nil {
			return err
		}
		n.Digest, part.digest = stored.Digest, stored.Digest
		p.append(part, external)
		return nil
	}
	buf, _ := buffers.Get().(*[smallMax]byte)
	data := buf[:part.size]
	if _, err := io.ReadFull(r, data); err != nil {
		buffers.Put(buf)
		return err
	}
	p.append(part, external)
	p.workers.Go(func() error {
		defer close(part.done)
		defer buffers.Put(buf)
		stored, err := p.store.PutBytes(p.ctx, data)
		if err != nil {
			return fmt.Errorf("store a file of %d bytes: %w", len(data), err)
		}
		n.Digest, part.digest = stored.Digest, stored.Digest
		return nil
	})
	return nil
}

func (p *pieces) append(part *piece, external bool) {
	if external && p.order != nil {
		p.order <- part
	}
}

// exactly reads size bytes, and says so if there are less.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(b []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(b[:min(int64(len(b)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}
