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
//	none                plain is the blob
//
// What gzip(1), pigz, zlib and libzstd make cannot be made again, and neither can what another version of these
// modules made whose output is different: the prober finds nothing then. A recipe is a finding about the beginning,
// and for blobs of up to a megabyte about all of it; only the digest of the whole blob says that it was right.
//
// The name of a compressor stands for its output. It ends in a number that changes when the output of the module
// changes (tests pin it), so that an old recipe is [ErrUnknown] instead of wrong.
//
// # Promises
//
// What [NewGzip] and [NewZstd] write depends on the input and the level, and neither on the number of
// jobs nor on how the input is cut into writes. Memory is bounded: a few megabytes for each job, and at most
// 6 MiB for a [Prober]. Blobs and recipes may be hostile.
package compress
