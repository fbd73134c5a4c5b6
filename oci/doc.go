// Package oci keeps container images in a repository: it pulls them, makes composefs images of them, and
// gives them back.
//
// # Words
//
// A manifest is a JSON document that names, by digest, a config and layers; an index names manifests, one
// for each platform. A layer is a tar, mostly compressed: its blob digest is that of the bytes in a
// registry, its diff_id that of the tar. A tag is a name of a manifest here. An artifact is a manifest
// whose config is not that of a container; a referrer one that has another manifest as its subject.
//
// # Layout
//
// It is that of composefs-rs 0.9. Everything is a splitstream of the repository:
//
//	streams/refs/oci/TAG ──► oci-manifest-sha256:…   the manifest, bit for bit
//	                           │  config:sha256:… ──► oci-config-sha256:…   the config, bit for bit
//	                           │                        │  composefs.image.v1 ──► an image
//	                           │  sha256:…              │  sha256:…
//	                           └──────────────► oci-layer-sha256:… ◄──┘     a tar, by its diff_id
//
// What an arrow leads to is a named ref of the splitstream. An index is a stream too, of the name
// oci-index-sha256:…, with refs in streams/refs/oci-index, which composefs-rs does not look at.
//
// # Promises
//
// Nothing gets a name that was not verified: manifest, config and blobs by their digests and sizes, tars by
// their diff_ids, objects by being hashed as they are stored. So a layer that is here already need not be
// fetched again. All of an image appears at once, or nothing.
package oci
