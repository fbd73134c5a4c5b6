// Package transport fetches container images from where they are and puts them where they shall be:
// registries, OCI layouts, and the archives of OCI and Docker.
//
// # Words
//
// A *reference* names an image and how it is reached. A *registry* is a server of the OCI distribution
// protocol, a *repository* a name in it, a *tag* a name of a manifest in a repository. A *blob* is
// content that is named by its digest: a layer or a configuration. A *layout* is a directory with blobs
// and an index.json. A *mirror* is another registry that may be asked for the same content.
//
//	docker://HOST/REPOSITORY[:TAG][@DIGEST]    a registry; docker:// may be left out
//	oci:DIRECTORY[:NAME|@DIGEST]               an OCI layout
//	oci-archive:FILE[:NAME|@DIGEST]            an OCI layout in a tar
//	docker-archive:FILE[:REPOSITORY:TAG|:@N]   what `docker save` writes
//	containers-storage:NAME                    the storage of podman and its kin
//
// A [Source] reads one image, a [Destination] writes one. Neither knows what blobs hold; package oci
// hashes, takes apart and makes them.
//
// # Trust
//
// Manifests are verified against their digests here, blobs by their reader, who learns of a wrong
// one only at its end and then calls Reject. Servers may be hostile: what is not named by a
// digest (tags, lists, errors) is capped, redirects are few and never carry credentials to another host, and
// a range that was not asked for is refused. Plain HTTP, and TLS without verification, are
// used only for hosts for which [Options] or a registries.conf says so. Archives may be
// hostile too: they are read in place, entry by entry, and nothing is unpacked.
//
// # Attempts
//
// Requests that fail in a way that may pass (connections that break, answers 429 and 5xx, bodies that are
// too short or stand still) are repeated after a wait that doubles each time, with chance added; a server's
// Retry-After is honoured. Reads of blobs go on by range where they were. [Options.Events] is told.
//
// # Formats
//
// OCI distribution specification 1.1, OCI image specification 1.1 (layout, descriptors), Docker image
// specification 1.2 (archives), containers-registries.conf(5) version 2, containers-auth.json(5) and
// containers-certs.d(5).
package transport
