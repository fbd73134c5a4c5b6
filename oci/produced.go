package oci

import (
	"io"
)

// produced is a reader of what a function writes, which it does again if the upload has to begin again.
type produced struct {
	produce func(io.Writer) error
	watch   func(n int)
	r       *io.PipeReader
	ended   chan struct{}
}

func (p *pusher) newProduced(l Layer, produce func(io.Writer) error) *produced {
	watch := func(n int) { p.opts.Progress.Add(l.Digest, n) }
	made := &produced{produce: produce, watch: watch}
	made.start()
	return made
}

func (p *produced) start() {
	r, w := io.Pipe()
	ended := make(chan struct{})
	p.r, p.ended = r, ended
	go func() {
		defer close(ended)
		w.CloseWithError(p.produce(w))
	}()
}

func (p *produced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.watch(n)
	return n, err
}

// Rewind makes produced a [transport.Rewinder].
func (p *produced) Rewind() error {
	_ = p.Close() // never fails
	p.start()
	return nil
}

// Close ends the function, and waits until it has returned.
func (p *produced) Close() error {
	err := p.r.Close()
	<-p.ended
	return err
}
