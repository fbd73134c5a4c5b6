package dumpfile_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/go-composefs/composefs/dumpfile"
	"github.com/go-composefs/composefs/tree"
)

// A dump made by hand, with a file added before it is written again.
func Example() {
	root, err := dumpfile.Read(strings.NewReader(
		"/ 0 40755 2 0 0 0 1700000000.0 - - -\n"+
			"/motd 6 100644 1 0 0 0 1700000000.0 - hello\\n -\n"), dumpfile.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	target := "motd"
	err = root.Add(tree.Entry{Name: "issue", Inode: &tree.Inode{
		Mode: tree.TypeSymlink | 0o777, Nlink: 1, Size: uint64(len(target)), Target: target,
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := dumpfile.Write(os.Stdout, root, dumpfile.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// / 0 40755 2 0 0 0 1700000000.0 - - -
	// /issue 4 120777 1 0 0 0 0.0 motd - -
	// /motd 6 100644 1 0 0 0 1700000000.0 - hello\n -
}

// Errors say where in the dump they are.
func ExampleRead_syntaxError() {
	_, err := dumpfile.Read(strings.NewReader(
		"/ 0 40755 2 0 0 0 1700000000.0 - - -\n"+
			"/etc 0 40755 2 0 root 0 1700000000.0 - - -\n"), dumpfile.ReadOptions{Name: "app.dump"})
	var syntax *dumpfile.SyntaxError
	if errors.As(err, &syntax) {
		fmt.Println(syntax.Line, syntax.Field)
	}
	fmt.Println(err)
	// Output:
	// 2 gid
	// app.dump:2: gid: Invalid integer root
}
