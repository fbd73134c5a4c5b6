package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/go-composefs/composefs/internal/bytesize"
)

// Style is how [Bars] are shown.
type Style string

// The styles.
const (
	StyleAuto  Style = "auto"  // bars on a terminal, plain lines otherwise
	StylePlain Style = "plain" // a line where something begins or ends, and one now and then
	StyleJSON  Style = "json"  // the same lines as JSON
	StyleNone  Style = "none"
)

// Set makes a Style an option of a command line.
func (s *Style) Set(text string) error {
	switch Style(text) {
	case StyleAuto, StylePlain, StyleJSON, StyleNone:
		*s = Style(text)
		return nil
	}
	return fmt.Errorf("unknown style %q: want auto, plain, json or none", text)
}

// String returns the style's name.
func (s *Style) String() string { return string(*s) }

// Type names the kind of value for usage messages.
func (*Style) Type() string { return "WORD" }

// Bars shows how far several things are that go on side by side. Its methods are safe for concurrent use; a
// nil Bars shows nothing.
type Bars struct {
	w     io.Writer
	style Style
	width int
	stop  chan struct{}
	ended sync.WaitGroup

	mu      sync.Mutex
	list    []*bar // in the order of beginning, without those that have ended
	byName  map[string]*bar
	drawn   int // lines on the terminal
	start   time.Time
	finite  int64 // bytes of what has ended
	planned int64 // bytes of all that has begun
}

// bar is one thing.
type bar struct {
	name  string
	total int64
	done  atomic.Int64
	start time.Time
}

// Event is a line of [StyleJSON].
type Event struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"` // "begin", "progress" or "end"
	Name    string    `json:"name,omitempty"`
	Done    int64     `json:"done"`  // bytes
	Total   int64     `json:"total"` // bytes
	Rate    int64     `json:"rate,omitempty"`
	Outcome string    `json:"outcome,omitempty"`
}

// StartBars begins to show. Call Done at the end.
func StartBars(w io.Writer, style Style) *Bars {
	b := &Bars{w: w, style: style, byName: map[string]*bar{}, stop: make(chan struct{}), start: time.Now(), width: 80}
	interval := plainInterval
	if style == StyleAuto || style == "" {
		b.style = StylePlain
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
			b.style, interval = StyleAuto, terminalInterval
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
				b.width = width
			}
		}
	}
	if style == StyleJSON {
		interval = time.Second
	}
	if b.style == StyleNone {
		return nil
	}
	b.ended.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.tick()
			case <-b.stop:
				return
			}
		}
	})
	return b
}

// Begin adds a thing of total bytes.
func (b *Bars) Begin(name string, total int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	one := &bar{name: name, total: total, start: time.Now()}
	b.list = append(b.list, one)
	b.byName[name] = one
	b.planned += total
	if b.style != StyleAuto {
		b.line(Event{Event: "begin", Name: name, Total: total})
	}
}

// Add counts bytes of a thing that are done.
func (b *Bars) Add(name string, n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	one := b.byName[name]
	b.mu.Unlock()
	if one != nil {
		one.done.Add(int64(n))
	}
}

// End takes a thing away, also one that has not begun.
func (b *Bars) End(name, outcome string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := Event{Event: "end", Name: name, Outcome: outcome}
	if one := b.byName[name]; one != nil {
		e.Done, e.Total, e.Rate = one.done.Load(), one.total, rate(one.done.Load(), time.Since(one.start))
		b.finite += one.total
		delete(b.byName, name)
		for i := range b.list {
			if b.list[i] == one {
				b.list = append(b.list[:i], b.list[i+1:]...)
				break
			}
		}
	}
	b.wipe()
	b.line(e)
	b.draw()
}

// Done ends showing, and leaves what has ended on the terminal.
func (b *Bars) Done() {
	if b == nil {
		return
	}
	close(b.stop)
	b.ended.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
}

func (b *Bars) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.style == StyleAuto {
		b.wipe()
		b.draw()
		return
	}
	for _, one := range b.list {
		done := one.done.Load()
		b.line(Event{Event: "progress", Name: one.name, Done: done, Total: one.total, Rate: rate(done, time.Since(one.start))})
	}
}

// line tells of an event. The caller holds mu, and has wiped the bars.
func (b *Bars) line(e Event) {
	if b.style == StyleJSON {
		e.Time = time.Now().UTC()
		data, _ := json.Marshal(e) // cannot fail
		fmt.Fprintf(b.w, "%s\n", data)
		return
	}
	switch e.Event {
	case "begin":
		fmt.Fprintf(b.w, "%s: %s\n", e.Name, bytesize.String(e.Total))
	case "end":
		if e.Total == 0 {
			fmt.Fprintf(b.w, "%s: %s\n", e.Name, e.Outcome)
			return
		}
		fmt.Fprintf(b.w, "%s: %s, %s at %s/s\n", e.Name, e.Outcome, bytesize.String(e.Done), bytesize.String(e.Rate))
	default:
		fmt.Fprintf(b.w, "%s: %s of %s, %s/s%s\n", e.Name, bytesize.String(e.Done), bytesize.String(e.Total),
			bytesize.String(e.Rate), left(e.Total-e.Done, e.Rate))
	}
}

// wipe takes the bars off the terminal. The caller holds mu.
func (b *Bars) wipe() {
	if b.drawn > 0 {
		fmt.Fprintf(b.w, "\x1b[%dA\r\x1b[J", b.drawn)
		b.drawn = 0
	}
}

// draw puts the bars on the terminal, and a line for all of them. The caller holds mu.
func (b *Bars) draw() {
	if b.style != StyleAuto || len(b.list) == 0 {
		return
	}
	var text strings.Builder
	all := b.finite
	for _, one := range b.list {
		done := one.done.Load()
		all += done
		b.bar(&text, one.name, done, one.total, time.Since(one.start))
	}
	b.drawn = len(b.list)
	if b.planned > b.list[0].total {
		b.bar(&text, "total", all, b.planned, time.Since(b.start))
		b.drawn++
	}
	fmt.Fprint(b.w, text.String())
}

// bar is one line.
func (b *Bars) bar(text *strings.Builder, name string, done, total int64, took time.Duration) {
	r := rate(done, took)
	numbers := fmt.Sprintf(" %9s/%s %9s/s%s", bytesize.String(done), bytesize.String(total), bytesize.String(r), left(total-done, r))
	const nameWidth = 14
	if len(name) > nameWidth {
		name = name[:nameWidth]
	}
	line := fmt.Sprintf("%-*s", nameWidth, name)
	if room := b.width - len(line) - len(numbers) - 4; room >= 8 && total > 0 {
		full := int(int64(room) * min(done, total) / total)
		line += " [" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]"
	}
	line += numbers
	if len(line) >= b.width {
		line = line[:b.width-1]
	}
	text.WriteString(line + "\n")
}

// rate returns bytes per second.
func rate(n int64, took time.Duration) int64 {
	if took < time.Millisecond {
		took = time.Millisecond
	}
	return int64(float64(n) / took.Seconds())
}

// left says how long the rest will take.
func left(n, rate int64) string {
	if rate <= 0 || n <= 0 {
		return ""
	}
	return fmt.Sprintf(", %s left", (time.Duration(n/rate+1) * time.Second).String())
}
