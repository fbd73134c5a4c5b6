package tree_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/go-composefs/composefs/tree"
)

// What a build changed in a directory.
func ExampleCompare() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	scan := func() *tree.Inode {
		f, err := os.Open(dir)
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		root, err := tree.Scan(context.Background(), f, tree.ScanOptions{UseEpoch: true, Exclude: []string{"*.o"}})
		if err != nil {
			log.Fatal(err)
		}
		return root
	}
	save := func(name, content string) {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}

	save("version", "1")
	before := scan()
	save("main.o", "left out")
	save("program", "new")
	save("version", "2")
	for change := range tree.Compare(before, scan()) {
		fmt.Println(change)
	}
	// Output:
	// added "/program"
	// changed "/version": content
}
