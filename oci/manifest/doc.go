// Package manifest reads the JSON documents of container images: manifests, indexes and image
// configurations, in the forms of OCI and of Docker (schema 2).
//
// # Words
//
// A *manifest* names a configuration and layers, an *index* names manifests, one for each platform; both
// name what they name by *descriptors*: media type, digest and size. Docker calls an index a manifest list.
// A *referrer* is a manifest with a *subject*, the manifest that it says something about; an *artifact* is
// a manifest whose configuration is none of an image. A *diff_id* is the digest of a layer's
// tar before compression.
//
//	index ──▶ manifest (linux/amd64) ──▶ config ──▶ diff_id, diff_id, …
//	      │                          └─▶ layer, layer, …
//	      └─▶ manifest (linux/arm64) ──▶ …
//
// # Promises
//
// Docker's documents have the same fields under other media types, so one set of types serves both:
// those of the OCI image specification. Input may be hostile: documents are at most [MaxSize]
// bytes, each descriptor in them has a well-formed digest and a size that is not negative, and a
// document that could be read both as a manifest and as an index is refused, for whoever signs or
// shows one reading must not be told the other. All functions are pure.
package manifest
