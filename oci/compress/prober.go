package compress

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

// How much of a blob a Prober keeps.
const (
	// Pgzip ends a block after a megabyte of plain bytes, and the end has to be seen in blobs that do not become
	// smaller.
	keepBlob  = 1<<20 + 128<<10
	keepPlain = 1<<20 + 256<<10
	// Of plain bytes that vanish more is kept, until there is this much of the blob, because compressors write
	// nothing for a long time and then look all the same.
	wantBlob     = 64 << 10
	keepPlainMax = 4 << 20
	// A zstd:chunked blob of ours shows nothing of a file before a piece of it is there.
	keepChunked = pieceSize + 1<<20
)

// A Prober watches how a blob is decompressed, and finds out how it was compressed. Compressed and Plain may be
// called from different goroutines, and cost nothing after the first megabyte.
type Prober struct {
	mu        sync.Mutex
	blob      []byte // the beginning
	plain     []byte // the beginning
	chunked   bool   // the blob may be zstd:chunked
	blobSize  int64
	plainSize int64
}

// NewProber returns a Prober for one blob.
func NewProber() *Prober { return &Prober{} }

// Compressed takes the next bytes of the blob. It has to have seen those that plain bytes come from before Plain
// sees these. It keeps a copy.
func (p *Prober) Compressed(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blobSize += int64(len(b))
	keep := keepBlob
	if p.chunked {
		keep = keepChunked
	}
	known := len(p.blob) >= zstd.HeaderMaxSize
	p.blob = append(p.blob, b[:min(len(b), keep-len(p.blob))]...)
	if !known && len(p.blob) >= zstd.HeaderMaxSize {
		p.chunked = beginsChunked(p.blob)
	}
}

// Plain takes the next bytes of what the blob is decompressed to. It keeps a copy.
func (p *Prober) Plain(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plainSize += int64(len(b))
	keep := keepPlain
	switch {
	case p.chunked:
		keep = keepChunked
	case len(p.blob) < wantBlob:
		keep = keepPlainMax
	}
	if n := min(len(b), keep-len(p.plain)); n > 0 && p.plainSize-int64(len(b)) == int64(len(p.plain)) {
		p.plain = append(p.plain, b[:n]...)
	}
}

// probing is held while candidates are tried: some want 40 MiB, and many layers may end at once.
var probing sync.Mutex

// Recipe says how the blob was compressed, as far as what was seen of it tells; false if none of the compressors
// here makes that. Whoever makes the blob again has to check its digest. It is called once both sides have ended,
// takes tens of milliseconds, and a few hundred in the worst case.
func (p *Prober) Recipe() (Recipe, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	probing.Lock()
	defer probing.Unlock()
	for r := range p.candidates() {
		if p.makes(r) {
			return r, true
		}
	}
	return Recipe{}, false
}

// complete says whether all of the blob was kept.
func (p *Prober) complete() bool {
	return p.blobSize == int64(len(p.blob)) && p.plainSize == int64(len(p.plain))
}

// beginsChunked says whether a blob begins with a frame that may hold the first headers of a tar, and nothing else.
func beginsChunked(blob []byte) bool {
	var h zstd.Header
	return h.Decode(blob[:zstd.HeaderMaxSize]) == nil && !h.Skippable && h.HasFCS && h.FrameContentSize < 1<<20
}
