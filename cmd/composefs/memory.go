package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// firstCollection is the size of the heap, in bytes, at which garbage is collected for the
// first time. Most runs end before they have allocated that much, and then collecting costs
// a tenth of their time and saves nothing.
const firstCollection = 64 << 20

// tuneMemory puts off the first garbage collection and leaves the later ones as they are, for
// with large trees memory counts. GOGC in the environment turns it off.
func tuneMemory() {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	// The runtime collects first at 4 MiB times the percentage (runtime.gcController,
	// heapMinimum).
	const heapMinimum = 4 << 20
	usual := debug.SetGCPercent(firstCollection / heapMinimum * 100)
	canary := new([16]byte)
	runtime.AddCleanup(canary, func(percent int) { debug.SetGCPercent(percent) }, usual)
}
