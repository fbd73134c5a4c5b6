// Package oci tests container images with the programs that others use: Debian's docker-registry, skopeo, umoci,
// crun and podman, and images of real packages.
package oci
