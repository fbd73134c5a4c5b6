//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// A bar is one promise and what came of it.
type bar struct {
	work     string
	promise  string
	measured string
	met      bool
}

func (b *bench) judge(work, promise string, met bool, format string, args ...any) {
	b.bars = append(b.bars, bar{work, promise, fmt.Sprintf(format, args...), met})
}

// renderRuns makes the table of all medians. The ratio is to the row's first contestant.
func renderRuns(runs []result) string {
	var s strings.Builder
	s.WriteString("| work | program | time: median (least–greatest) | ratio | CPU | peak memory | runs |\n")
	s.WriteString("|---|---|---|---|---|---|---|\n")
	var first result
	for _, r := range runs {
		work, ratio := "", ""
		if r.work != first.work {
			first, work = r, r.work
		} else {
			ratio = fmt.Sprintf("%.2f", r.ratio(first))
		}
		times := sorted(r, wall)
		memory := formatBytes(r.medianRSS())
		if r.medianRSS() <= r.floor {
			memory = "under " + formatBytes(r.floor)
		}
		fmt.Fprintf(&s, "| %s | %s | %s (%s–%s) | %s | %s | %s | %d |\n", work, r.name,
			formatDuration(r.median()), formatDuration(times[0]), formatDuration(times[len(times)-1]),
			ratio, formatDuration(r.medianCPU()), memory, len(times))
	}
	return s.String()
}

func renderBars(bars []bar) string {
	var s strings.Builder
	s.WriteString("| work | bar | measured | |\n|---|---|---|---|\n")
	for _, b := range bars {
		verdict := "met"
		if !b.met {
			verdict = "**missed**"
		}
		fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", b.work, b.promise, b.measured, verdict)
	}
	return s.String()
}

// replaceTable puts the table between the markers of a part in a Markdown file:
//
//	<!-- bench: begin PART -->
//	<!-- bench: end PART -->
func replaceTable(file, part, table string) error {
	tableBegin, tableEnd := "<!-- bench: begin "+part+" -->\n", "<!-- bench: end "+part+" -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok1 := bytes.Cut(text, []byte(tableBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", file, tableBegin, tableEnd)
	}
	out := append(before[:len(before):len(before)], tableBegin+"\n"+table+"\n"+tableEnd...)
	return os.WriteFile(file, append(out, after...), 0o644)
}

func formatDuration(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func formatBytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.0f GB", float64(n)/1e9)
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
