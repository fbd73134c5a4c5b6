package selinux

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/tree"
)

// benchPolicy has as many specs as a distribution's, of the kinds that those are.
func benchPolicy() string {
	var b strings.Builder
	b.WriteString("/.* default\n/[^/]+ -d root\n/usr/.* usr\n/usr/(.*/)?lib(/.*)? lib\n/usr/(.*/)?bin(/.*)? bin\n")
	b.WriteString("/usr/(.*/)?lib(64)?/.+\\.so(\\.[^/]*)* -- shared\n/var/run/.*\\.pid -- pid\n")
	for i := range 800 {
		fmt.Fprintf(&b, "/usr/bin/program%d -- program%[1]d_exec\n/usr/s?bin/daemon%[1]d[^/]* -- daemon%[1]d_exec\n", i)
		fmt.Fprintf(&b, "/etc/daemon%d(/.*)? daemon%[1]d_etc\n/var/lib/daemon%[1]d(/.*)? daemon%[1]d_var\n", i)
		fmt.Fprintf(&b, "/usr/lib/systemd/system/[^/]*daemon%d.* -- daemon%[1]d_unit\n/var/log/daemon%[1]d.*\\.log.* daemon%[1]d_log\n", i)
	}
	return b.String()
}

// BenchmarkRelabel labels a tree of 100000 files, from the text of a policy on.
func BenchmarkRelabel(b *testing.B) {
	files := map[string]*tree.Inode{}
	for i := range 50_000 {
		files[fmt.Sprintf("usr/share/package%d/some/file%d", i/40, i)] = file("")
		files[fmt.Sprintf("%s/daemon%d/%d", []string{"usr/lib", "var/lib", "etc", "usr/lib/x/lib64"}[i%4], i/50, i)] = file("")
	}
	root := treeOf(b, files)
	text := benchPolicy()
	b.ReportAllocs()
	for b.Loop() {
		p, err := New(Source{FileContexts: text})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Relabel(b.Context(), root); err != nil {
			b.Fatal(err)
		}
	}
}
