package compress

import (
	"bytes"
	"iter"

	"github.com/klauspost/compress/zstd"
)

const (
	// umociBlock is what umoci's pgzip compresses at a time.
	umociBlock = 256 << 10
	// klauspostLevel is what klauspost-gzip and pgzip take if they are not told.
	klauspostLevel = 5
)

// candidates yields the recipes that the blob may have by its header, the likely ones first.
func (p *Prober) candidates() iter.Seq[Recipe] {
	return func(yield func(Recipe) bool) {
		if bytes.HasPrefix(p.blob, []byte("\x1f\x8b")) {
			p.gzipCandidates(yield)
			return
		}
		if bytes.HasPrefix(p.blob, []byte("\x28\xb5\x2f\xfd")) {
			p.zstdCandidates(yield)
			return
		}
		yield(Recipe{Compressor: nameNone})
	}
}

func (p *Prober) gzipCandidates(yield func(Recipe) bool) {
	header, extraFlags, size := parseGzipHeader(p.blob)
	if size == 0 {
		return
	}
	goGzip := func() bool {
		for _, level := range gzipLevels(extraFlags, 6) {
			if !yield(Recipe{Compressor: nameGo, Level: level, Header: &header}) {
				return false
			}
		}
		return true
	}
	klauspost := func() {
		for _, level := range gzipLevels(extraFlags, klauspostLevel) {
			// Until the end of its first block pgzip writes what klauspost-gzip does, so it goes first.
			for _, r := range []Recipe{
				{Compressor: namePgzip, Level: level, Block: gzipBlock, Header: &header},
				{Compressor: namePgzip, Level: level, Block: umociBlock, Header: &header},
				{Compressor: nameKlauspost, Level: level, Header: &header},
			} {
				if !yield(r) {
					return
				}
			}
		}
	}
	// The standard library writes 0 where the others write goTime.
	if header.ModTime == goTime || goGzip() {
		klauspost()
	}
}

// zstdLevels are those of the compressor, the likely ones first.
var zstdLevels = []zstd.EncoderLevel{
	zstd.SpeedDefault, zstd.SpeedFastest, zstd.SpeedBetterCompression, zstd.SpeedBestCompression,
}

func (p *Prober) zstdCandidates(yield func(Recipe) bool) {
	var h zstd.Header
	if err := h.Decode(p.blob[:min(len(p.blob), zstd.HeaderMaxSize)]); err != nil || h.Skippable || h.DictionaryID != 0 {
		return
	}
	// Its first frame holds the first header, and says how large it is.
	if h.HasFCS && (!p.complete() || bytes.HasSuffix(p.blob, []byte(footerMagic))) {
		for _, level := range zstdLevels {
			if !yield(Recipe{Compressor: nameChunked, Level: int(level)}) {
				return
			}
		}
	}
	base := Recipe{NoChecksum: !h.HasCheckSum}
	var windows []int
	switch {
	case h.SingleSegment:
		// So are blobs of one block, which have no window.
		windows = []int{0}
	case h.WindowSize > maxRecipeWindow:
		return
	case h.HasFCS:
		base.ContentSize = int64(min(h.FrameContentSize, 1<<62))
		// The header's window shrinks with the content.
		windows = []int{0, int(h.WindowSize)}
	default:
		windows = []int{0, int(h.WindowSize)}
	}
	if h.SingleSegment && p.complete() {
		// One block, of which only this level has another size with a window of its own.
		if !yield(Recipe{Compressor: nameZstdJobs, Level: int(zstd.SpeedFastest), Window: zstdWindow, NoChecksum: base.NoChecksum}) {
			return
		}
	}
	for _, window := range windows {
		for _, level := range zstdLevels {
			r := base
			r.Level, r.Window = int(level), window
			r.Compressor = nameZstd
			if window == zstdWindow {
				// Both write the same in the beginning; the window is ours and no level's.
				r.Compressor = nameZstdJobs
			}
			if _, err := r.find(); err == nil && !yield(r) {
				return
			}
		}
	}
}

// gzipPayload is where the compressed bytes begin in a blob that has this recipe's header, or 0.
func gzipPayload(blob []byte, r Recipe) int {
	header, err := r.Header.bytes(r.Level)
	if err != nil || !bytes.HasPrefix(blob, header) || len(header) < 10 {
		return 0
	}
	return len(header)
}
