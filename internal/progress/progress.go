// Package progress shows on a terminal how far a long operation is, and prints plain lines
// where standard error is not one.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/go-composefs/composefs/internal/bytesize"
)

// Meter counts the files and bytes of one operation and shows them. Its methods are safe for
// concurrent use; a nil Meter counts nothing.
type Meter struct {
	files, bytes atomic.Int64

	w     io.Writer
	title string
	tty   bool
	start time.Time
	stop  chan struct{}
	ended sync.WaitGroup
}

// Intervals of showing: fast enough to look alive, slow enough to cost nothing and to keep
// log files short.
const (
	terminalInterval = 100 * time.Millisecond
	plainInterval    = 10 * time.Second
)

// Start begins an operation whose progress goes to w. Nothing is shown before the first
// interval has passed, so that short operations stay silent. Call Done at the end.
func Start(w io.Writer, title string) *Meter {
	m := &Meter{w: w, title: title, start: time.Now(), stop: make(chan struct{})}
	interval := plainInterval
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		m.tty, interval = true, terminalInterval
	}
	m.ended.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.show()
			case <-m.stop:
				return
			}
		}
	})
	return m
}

// Add counts files and bytes that are done.
func (m *Meter) Add(files int, bytes int64) {
	if m == nil {
		return
	}
	m.files.Add(int64(files))
	m.bytes.Add(bytes)
}

// Done ends the operation and wipes what stands on the terminal.
func (m *Meter) Done() {
	if m == nil {
		return
	}
	close(m.stop)
	m.ended.Wait()
	if m.tty {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

func (m *Meter) show() {
	bytes, files := m.bytes.Load(), m.files.Load()
	rate := float64(bytes) / time.Since(m.start).Seconds()
	line := fmt.Sprintf("%s: %d files, %s, %s/s", m.title, files, bytesize.String(bytes), bytesize.String(int64(rate)))
	if m.tty {
		fmt.Fprintf(m.w, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(m.w, line)
	}
}
