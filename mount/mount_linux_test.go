package mount

import (
	"testing"
)

// allWays are the ways of newer and older kernels to the same mount.
var allWays = []struct {
	name string
	ways ways
}{
	{"newest", ways{}},
	{"loop device", ways{noFileBacked: true}},
	{"loop device in two steps", ways{noFileBacked: true, noConfigure: true}},
	{"layers by name", ways{noLayerFD: true}},
	{"layers by name on a loop device", ways{noLayerFD: true, noFileBacked: true}},
	{"layers in one string", ways{noLayerFD: true, noPlus: true}},
	{"objects as ordinary layer", ways{noLayerFD: true, noPlus: true, noDataOnly: true}},
	{"mount(2)", ways{noMountAPI: true}},
	{"mount(2) on a loop device", ways{noMountAPI: true, noFileBacked: true}},
	{"mount(2) with objects as ordinary layer", ways{noMountAPI: true, noDataOnly: true}},
}

func TestMountShowsTheSource(t *testing.T) {
	f := newFixture(t, everything)
	for _, way := range allWays {
		t.Run(way.name, func(t *testing.T) {
			opts := f.options(t)
			opts.ways = way.ways
			target, state := mountHere(t, opts)
			if got := state.LoopDevice != ""; got != way.ways.noFileBacked {
				t.Errorf("loop device %q", state.LoopDevice)
			}
			same(t, f.source, target)
		})
	}
}
