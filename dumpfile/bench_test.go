package dumpfile_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/go-composefs/composefs/dumpfile"
)

// osDump is a dump shaped like that of an OS image, of about n lines.
func osDump(n int) []byte {
	var b bytes.Buffer
	const label = "security.selinux=system_u:object_r:usr_t:s0\\x00"
	b.WriteString("/ 0 40755 1 0 0 0 1700000000.0 - - - " + label + "\n")
	for i := range n {
		if i%1000 == 0 {
			fmt.Fprintf(&b, "/top%07d 0 40755 1 0 0 0 1700000000.0 - - - %s\n", i/1000, label)
		}
		if i%20 == 0 {
			fmt.Fprintf(&b, "/top%07d/dir%07d 0 40755 1 0 0 0 1700000000.0 - - - %s\n", i/1000, i/20, label)
		}
		sum := sha256.Sum256(fmt.Append(nil, i-i%8/7))
		fmt.Fprintf(&b, "/top%07d/dir%07d/file%07d.so %d 100644 1 0 0 0 1700000000.0 %x/%x - %x %s\n",
			i/1000, i/20, i, 100+i, sum[:1], sum[1:], sum, label)
	}
	return b.Bytes()
}

func BenchmarkRead(b *testing.B) {
	dump := osDump(64000)
	b.SetBytes(int64(len(dump)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dumpfile.Read(bytes.NewReader(dump), dumpfile.ReadOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	root := read(b, string(osDump(64000)))
	b.ReportAllocs()
	for b.Loop() {
		var n countWriter
		if err := dumpfile.Write(&n, root, dumpfile.WriteOptions{}); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

type countWriter int64

func (n *countWriter) Write(p []byte) (int, error) {
	*n += countWriter(len(p))
	return len(p), nil
}
