package mount

import "testing"

// BenchmarkMountAndUnmount does not depend on what is in the image.
func BenchmarkMountAndUnmount(b *testing.B) {
	f := newFixture(b, small)
	for _, way := range allWays {
		b.Run(way.name, func(b *testing.B) {
			opts, target := f.options(b), workDir(b)
			opts.ways = way.ways
			b.ReportAllocs()
			for b.Loop() {
				if _, err := At(b.Context(), opts, target); err != nil {
					b.Fatal(err)
				}
				if err := Unmount(target, UnmountOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkProbe(b *testing.B) {
	f := newFixture(b, small)
	for b.Loop() {
		_ = Probe(f.options(b).Objects[0])
	}
}
