package main

import (
	"bufio"
	"fmt"

	"github.com/go-composefs/composefs/mount"
)

// printMountState tells in words what a new mount is worth.
func (a *app) printMountState(image, target string, state mount.State) error {
	rows := [][]string{{"image:", printable(image)}, {"mounted on:", printable(target)}}
	switch {
	case state.Verity == mount.VerityRequire:
		rows = append(rows, []string{"files:", "verified by the kernel at every read"})
	case state.VerityReason != "":
		rows = append(rows, []string{"files:", "not verified: " + oneLine(state.VerityReason)})
	default:
		rows = append(rows, []string{"files:", "not verified: --verity=off"})
	}
	switch state.DigestOrigin {
	case mount.DigestMeasured:
		rows = append(rows, []string{"digest:", state.Digest.String() + ", enforced by the kernel"})
	case mount.DigestComputed:
		rows = append(rows, []string{"digest:", state.Digest.String() + ", true when it was mounted"})
	default:
		rows = append(rows, []string{"digest:", "unknown: the image has no fs-verity"})
	}
	if state.LoopDevice != "" {
		rows = append(rows, []string{"loop device:", state.LoopDevice})
	}
	return a.result(func(w *bufio.Writer) error { return columns(w, rows) })
}

// shortDigest is enough of a digest to tell it from others at a glance.
func shortDigest(info mount.Info) string {
	if info.Digest.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.12s… (%s)", info.Digest, info.DigestOrigin)
}
