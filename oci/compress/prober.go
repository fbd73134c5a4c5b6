package compress

import "sync"

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
)

// A Prober watches how a blob is decompressed, and finds out how it was compressed. Compressed and Plain may be
// called from different goroutines, and cost nothing after the first megabyte.
type Prober struct {
	mu        sync.Mutex
	blob      []byte // the beginning
	plain     []byte // the beginning
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
	p.blob = append(p.blob, b[:min(len(b), keepBlob-len(p.blob))]...)
}

// Plain takes the next bytes of what the blob is decompressed to. It keeps a copy.
func (p *Prober) Plain(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plainSize += int64(len(b))
	keep := keepPlain
	if len(p.blob) < wantBlob {
		keep = keepPlainMax
	}
	if n := min(len(b), keep-len(p.plain)); n > 0 && p.plainSize-int64(len(b)) == int64(len(p.plain)) {
		p.plain = append(p.plain, b[:n]...)
	}
}

// Recipe says how the blob was compressed, as far as what was seen of it tells; false if none of the compressors
// here makes that. Whoever makes the blob again has to check its digest. It is called once both sides have ended,
// takes tens of milliseconds, and a few hundred in the worst case.
func (p *Prober) Recipe() (Recipe, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
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
