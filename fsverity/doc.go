// Package fsverity computes, enables and measures fs-verity digests.
package fsverity
