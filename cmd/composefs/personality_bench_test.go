package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// benchDump is a dump of n entries: a directory to every 64 files, labels on all.
func benchDump(n int) string {
	const label = " security.selinux=system_u:object_r:usr_t:s0\\x00\n"
	var b strings.Builder
	b.WriteString("/ 4096 40755 2 0 0 0 1700000000.0 - - -" + label)
	dir := ""
	for i := range n - 1 {
		if i%64 == 0 {
			dir = fmt.Sprintf("/dir%06d", i)
			fmt.Fprintf(&b, "%s 4096 40755 2 0 0 0 %d.5 - - -%s", dir, 1700000000+i, label)
			continue
		}
		digest := fmt.Sprintf("%064x", uint64(i)*0x9e3779b97f4a7c15)
		fmt.Fprintf(&b, "%s/file%06d %d 100644 1 0 0 0 %d.7 %s/%s - %s%s",
			dir, i, 100+i, 1700000000+i, digest[:2], digest[2:], digest, label)
	}
	return b.String()
}

func benchRun(b *testing.B, program func(streams) int) {
	b.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	b.ReportAllocs()
	for b.Loop() {
		if exit := program(streams{in: null, out: null, err: os.Stderr}); exit != exitOK {
			b.Fatalf("exit %d", exit)
		}
	}
}

func BenchmarkMkcomposefsFromDump(b *testing.B) {
	b.Chdir(b.TempDir())
	if err := os.WriteFile("dump", []byte(benchDump(64000)), 0o644); err != nil {
		b.Fatal(err)
	}
	benchRun(b, func(std streams) int {
		return mkcomposefs(b.Context(), std, []string{"mkcomposefs", "--print-digest-only", "--from-file", "dump"})
	})
}

func BenchmarkInfoDump(b *testing.B) {
	b.Chdir(b.TempDir())
	if o := ours(b, benchDump(64000), "mkcomposefs", "--from-file", "-", "image"); o.exit != exitOK {
		b.Fatal(o.stderr)
	}
	benchRun(b, func(std streams) int {
		return composefsInfo(b.Context(), std, []string{"composefs-info", "dump", "image"})
	})
}
