package compress

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// Annotations of a layer's descriptor by which its table of contents is found.
const (
	// AnnotationTOCDigest is the digest of the table as it is in the blob, compressed.
	AnnotationTOCDigest = "io.github.containers.zstd-chunked.manifest-checksum"
	// AnnotationTOC is "OFFSET:SIZE:PLAINSIZE:1" of it, decimal, in bytes.
	AnnotationTOC = "io.github.containers.zstd-chunked.manifest-position"
	// AnnotationTarSplit is "OFFSET:SIZE:PLAINSIZE" of the tar-split.
	AnnotationTarSplit = "io.github.containers.zstd-chunked.tarsplit-position"
)

// The names that they had until 2023, when there was no tar-split.
const (
	oldAnnotationTOCDigest = "io.containers.zstd-chunked.manifest-checksum"
	oldAnnotationTOC       = "io.containers.zstd-chunked.manifest-position"
)

const (
	skippableMagic = "\x50\x2a\x4d\x18"
	skippableSize  = 8 // of what stands before the bytes of a skippable frame
	footerMagic    = "GNUlInUx"
	footerSize     = 64
	oldFooterMagic = "GnUlInUx"
	oldFooterSize  = 40
	tocType        = 1 // the only one
)

// A section is a part of the blob that lies in a skippable frame.
type section struct {
	offset, size, plain int64 // size compressed, and plain not
}

// footer says where the sections are.
type footer struct {
	toc, split section
	digest     string // of the table of contents, if an annotation says so
}

func (f *footer) bytes() []byte {
	b := make([]byte, 0, footerSize)
	for _, v := range []int64{f.toc.offset, f.toc.size, f.toc.plain, tocType, f.split.offset, f.split.size, f.split.plain} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return append(b, footerMagic...)
}

func (f *footer) annotations(toc []byte) map[string]string {
	sum := sha256.Sum256(toc)
	return map[string]string{
		AnnotationTOCDigest: digestString(sum[:]),
		AnnotationTOC:       fmt.Sprintf("%d:%d:%d:%d", f.toc.offset, f.toc.size, f.toc.plain, tocType),
		AnnotationTarSplit:  fmt.Sprintf("%d:%d:%d", f.split.offset, f.split.size, f.split.plain),
	}
}

// writeTrailer writes what comes after the content, which ends at offset, and returns the annotations.
func writeTrailer(w io.Writer, offset int64, toc *tocWriter, split *tarSplit) (map[string]string, error) {
	if err := split.zstd.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(split.out.Bytes())
	if err := toc.finish(digestString(sum[:])); err != nil {
		return nil, err
	}
	f := footer{toc: section{offset + skippableSize, int64(toc.out.Len()), toc.n}}
	f.split = section{f.toc.offset + f.toc.size + skippableSize, int64(split.out.Len()), split.n}
	for _, part := range [][]byte{toc.out.Bytes(), split.out.Bytes(), f.bytes()} {
		head := binary.LittleEndian.AppendUint32([]byte(skippableMagic), uint32(len(part)))
		for _, b := range [][]byte{head, part} {
			if _, err := w.Write(b); err != nil {
				return nil, err
			}
		}
	}
	return f.annotations(toc.out.Bytes()), nil
}
