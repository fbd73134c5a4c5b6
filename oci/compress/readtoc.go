package compress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Errors of [ReadTOC] that callers branch on.
var (
	// ErrNoTOC reports a blob that is no zstd:chunked one.
	ErrNoTOC = errors.New("no table of contents")
	// ErrTOC reports a table of contents that is wrong, or beyond the limits.
	ErrTOC = errors.New("bad table of contents")
)

// TOC is the table of contents of a zstd:chunked blob.
type TOC struct {
	Entries []Entry // in the tar's order, chunks in their entries
	// TarSplitDigest is that of the compressed tar-split, or empty if there is none that can be trusted.
	TarSplitDigest string

	tarSplit section
}

// ReadTOC reads the table of contents of a blob of size bytes, also in the form of before 2023. The annotations are the descriptor's, and the table has
// to have the digest that they name. With nil the blob's own footer says where the table is; then it is worth as much
// as the blob. It fails with [ErrNoTOC] and [ErrTOC].
//
// The blob may be hostile: the table has at most 150 MiB and a million entries, and every place that it names lies
// before it.
func ReadTOC(r io.ReaderAt, size int64, annotations map[string]string) (*TOC, error) {
	f, err := findTOC(r, size, annotations)
	if err != nil {
		return nil, err
	}
	data := make([]byte, f.toc.size)
	if _, err := r.ReadAt(data, f.toc.offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read table of contents at byte %d: %w", f.toc.offset, err)
	}
	if annotations != nil {
		sum := sha256.Sum256(data)
		if got := digestString(sum[:]); got != f.digest {
			return nil, fmt.Errorf("%w: its digest is %s and not %s", ErrTOC, got, f.digest)
		}
	}
	plain, err := decompressSection(data, f.toc.plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTOC, err)
	}
	t, err := parseTOC(plain, f.toc.offset-skippableSize)
	if err != nil {
		return nil, err
	}
	if t.TarSplitDigest != "" && f.split == (section{}) {
		return nil, fmt.Errorf("%w: nothing says where its tar-split is", ErrTOC)
	}
	t.tarSplit = f.split
	return t, nil
}

// findTOC says where the table of contents is.
func findTOC(r io.ReaderAt, size int64, annotations map[string]string) (*footer, error) {
	f := &footer{}
	var err error
	if annotations != nil {
		err = f.parseAnnotations(annotations)
	} else {
		err = f.read(r, size)
	}
	if err != nil {
		return nil, err
	}
	if f.toc.size > maxTOC || f.toc.plain > maxTOC || f.split.size > maxTarSplit {
		return nil, fmt.Errorf("%w: of %d bytes, compressed %d, with a tar-split of %d", ErrTOC, f.toc.plain, f.toc.size, f.split.size)
	}
	for _, s := range []section{f.toc, f.split} {
		if s != (section{}) && (s.offset < skippableSize || s.offset > size || s.size <= 0 || s.size > size-s.offset || s.plain < 0) {
			return nil, fmt.Errorf("%w: %d bytes at byte %d of a blob of %d", ErrTOC, s.size, s.offset, size)
		}
	}
	return f, nil
}

// read reads the footer of a blob.
func (f *footer) read(r io.ReaderAt, size int64) error {
	b := make([]byte, min(size, skippableSize+footerSize))
	if n, err := r.ReadAt(b, size-int64(len(b))); n < len(b) {
		return fmt.Errorf("read footer: %w", err)
	}
	for _, kind := range []struct {
		size  int
		magic string
	}{{footerSize, footerMagic}, {oldFooterSize, oldFooterMagic}} {
		head := binary.LittleEndian.AppendUint32([]byte(skippableMagic), uint32(kind.size))
		if len(b) < skippableSize+kind.size || !bytes.HasSuffix(b, []byte(kind.magic)) {
			continue
		}
		in := b[len(b)-kind.size-skippableSize:]
		if !bytes.HasPrefix(in, head) {
			continue
		}
		var v [7]int64
		for i := range (kind.size - len(kind.magic)) / 8 {
			v[i] = int64(binary.LittleEndian.Uint64(in[skippableSize+8*i:]))
		}
		if v[3] != tocType {
			return fmt.Errorf("%w: of type %d", ErrTOC, v[3])
		}
		f.toc, f.split = section{v[0], v[1], v[2]}, section{v[4], v[5], v[6]}
		return nil
	}
	return ErrNoTOC
}

func (f *footer) parseAnnotations(annotations map[string]string) error {
	name, text := AnnotationTOC, annotations[AnnotationTOC]
	var ok bool
	if f.digest, ok = annotations[AnnotationTOCDigest]; !ok {
		name, text = oldAnnotationTOC, annotations[oldAnnotationTOC]
		if f.digest, ok = annotations[oldAnnotationTOCDigest]; !ok {
			return ErrNoTOC
		}
	}
	v, err := parseNumbers(text, 4)
	if err == nil && v[3] != tocType {
		err = fmt.Errorf("of type %d", v[3])
	}
	if err != nil {
		return fmt.Errorf("%w: annotation %s: %w", ErrTOC, name, err)
	}
	f.toc = section{v[0], v[1], v[2]}
	if text, ok = annotations[AnnotationTarSplit]; !ok {
		return nil
	}
	if v, err = parseNumbers(text, 3); err != nil {
		return fmt.Errorf("%w: annotation %s: %w", ErrTOC, AnnotationTarSplit, err)
	}
	f.split = section{v[0], v[1], v[2]}
	return nil
}

// parseNumbers reads n decimal numbers between colons.
func parseNumbers(text string, n int) ([]int64, error) {
	fields := strings.SplitN(text, ":", n+1)
	if len(fields) != n {
		return nil, fmt.Errorf("%q are not %d numbers", text, n)
	}
	v := make([]int64, n)
	for i, field := range fields {
		u, err := strconv.ParseUint(field, 10, 63)
		if err != nil {
			return nil, err
		}
		v[i] = int64(u)
	}
	return v, nil
}

// decompressSection decompresses what has to be of a certain size.
func decompressSection(data []byte, size int64) ([]byte, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxTOC), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	plain, err := z.DecodeAll(data, nil)
	if err != nil {
		return nil, err
	}
	if int64(len(plain)) != size {
		return nil, fmt.Errorf("of %d bytes and not %d", len(plain), size)
	}
	return plain, nil
}

// TarSplit returns what the tar of the blob r has besides content, in the form of github.com/vbatts/tar-split,
// decompressed, after it has checked its digest. Close ends it, and not r.
func (t *TOC) TarSplit(r io.ReaderAt) (io.ReadCloser, error) {
	if t.TarSplitDigest == "" {
		return nil, fmt.Errorf("read tar-split: %w", ErrNoTOC)
	}
	s := t.tarSplit
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, s.offset, s.size)); err != nil {
		return nil, fmt.Errorf("read tar-split at byte %d: %w", s.offset, err)
	}
	if got := digestString(h.Sum(nil)); got != t.TarSplitDigest {
		return nil, fmt.Errorf("%w: the digest of its tar-split is %s and not %s", ErrTOC, got, t.TarSplitDigest)
	}
	z, err := zstd.NewReader(bufio.NewReader(io.NewSectionReader(r, s.offset, s.size)), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("read tar-split: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(z, s.plain), z.IOReadCloser()}, nil
}
