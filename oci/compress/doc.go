// Package compress makes compressed layers of tars: the same bytes as before where it can, and otherwise new
// ones on all cores.
//
// # Words
//
// A blob is a layer as a registry has it, mostly compressed; plain is the tar in it. A repository keeps the
// plain bytes alone, and a blob's digest is only that of its compressed bytes. A recipe says which compressor
// with which settings made a blob, so that the same bytes can be made again. A candidate is a recipe that a blob
// may have by its header.
//
// # Recipes
//
// Most blobs come from a few compressors written in Go, which are here as well. A [Prober] sees the beginning of
// a blob and of its plain bytes and lets the candidates make that beginning again:
//
//	go-gzip             compress/gzip                          docker, buildkit, kaniko, crane, containerd
//	pgzip               blocks of 1 MiB, or 256 KiB            podman, buildah, skopeo; umoci
//	klauspost-gzip      github.com/klauspost/compress/gzip
//	klauspost-zstd      the same module's zstd, as a stream    podman, buildah, skopeo, buildkit, containerd
//	klauspost-zstd-jobs pieces of four windows at once         [NewZstd]
//	zstd-chunked        see below                              [NewZstdChunked]
//	none                plain is the blob
//
// What gzip(1), pigz, zlib and libzstd make cannot be made again, and neither can what another version of these
// modules made whose output is different: the prober finds nothing then. A recipe is a finding about the beginning,
// and for blobs of up to a megabyte about all of it; only the digest of the whole blob says that it was right.
//
// The name of a compressor stands for its output. It ends in a number that changes when the output of the module
// changes (tests pin it), so that an old recipe is [ErrUnknown] instead of wrong.
//
// # zstd:chunked
//
// Such a blob is an ordinary zstd one of many frames, in which podman finds each file by a table of contents, so
// that it need not pull those that it has:
//
//	┌─────────┬─────────┬─────────┬─────────┬─────────┬───┬─────────┬─────┬───────────┬────────┐
//	│ headers │ content │ headers │ content │ content │ … │ headers │ TOC │ tar-split │ footer │
//	│         │ a       │         │ b 0     │ b 1     │   │ end     │     │           │        │
//	└─────────┴─────────┴─────────┴─────────┴─────────┴───┴─────────┴─────┴───────────┴────────┘
//	  frames of zstd, whose content is the tar                        skippable frames
//
// The TOC is JSON, compressed with zstd: an [Entry] for each of the tar, with the digest of its content and its place in
// the blob; content of more than 4 MiB is in several chunks. The tar-split is JSON too: all of the tar that is not
// content. The footer, and annotations of the layer's descriptor, say where both are; an annotation has the digest of the
// TOC, and the TOC that of the tar-split. docs/format-zstd-chunked.md has the fields.
//
// # Promises
//
// What [NewGzip], [NewZstd] and [NewZstdChunked] write depends on the input and the level, and neither on the number of
// jobs nor on how the input is cut into writes. Memory is bounded: a few megabytes for each job, and mostly 3 MiB
// for a [Prober], at most 10. Blobs, recipes and tables of contents may be hostile.
package compress
