package erofs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"log"
	"os"
	"strings"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/tree"
)

// An image of a tree that is made by hand. The digest names everything in it.
func ExampleWrite() {
	root := &tree.Inode{Mode: tree.TypeDir | 0o755}
	err := root.Add(tree.Entry{Name: "motd", Inode: &tree.Inode{
		Mode: tree.TypeRegular | 0o644, Nlink: 1, Size: 6, Content: []byte("hello\n"),
	}})
	if err != nil {
		log.Fatal(err)
	}
	var image bytes.Buffer
	res, err := erofs.Write(&image, root, erofs.WriteOptions{Format: erofs.FormatV1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Format, res.Size, res.Inodes)
	fmt.Println(res.Digest)
	// Output:
	// v1 16384 258
	// 77ef4e941b2cf4592b2de04b92c5c8fc3be4e6d5d425a222a24014b62e37185d
}

// What a container engine does instead of running mkcomposefs --from-file - -: a dump comes
// in, an image goes out, the digest is kept.
func ExampleWrite_dump() {
	dump := strings.NewReader("/ 0 40755 1 0 0 0 0.0 - - -\n")
	root, err := dumpfile.Read(dump, dumpfile.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	var image bytes.Buffer
	res, err := erofs.Write(&image, root, erofs.WriteOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Digest)
	// Output:
	// 8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682
}

// An image as an io/fs filesystem.
func ExampleImage_FS() {
	root, err := dumpfile.Read(strings.NewReader("/ 0 40755 1 0 0 0 0.0 - - -\n"+
		"/etc 0 40755 1 0 0 0 0.0 - - -\n"+
		"/etc/motd 6 100644 1 0 0 0 0.0 - hello\\n -\n"), dumpfile.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	var image bytes.Buffer
	if _, err := erofs.Write(&image, root, erofs.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	img, err := erofs.Open(bytes.NewReader(image.Bytes()), int64(image.Len()))
	if err != nil {
		log.Fatal(err)
	}
	data, err := fs.ReadFile(img.FS(erofs.FSOptions{}), "etc/motd")
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(data)
	// Output:
	// hello
}
