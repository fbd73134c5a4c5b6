package splitstream_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/splitstream"
)

func ExampleWriter() {
	content := strings.Repeat("a large file, kept in the store ", 100)
	object, err := fsverity.Sum(fsverity.SHA256, []byte(content))
	if err != nil {
		log.Fatal(err)
	}
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Layer})
	fmt.Fprint(w, "header, ")
	w.Object(object, int64(len(content)))
	fmt.Fprint(w, "and padding")
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		log.Fatal(err)
	}

	r, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v of %d bytes needs %d object\n", r.ContentType(), r.Size(), len(r.ObjectRefs()))
	n, err := r.WriteTo(io.Discard, func(d fsverity.Digest) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil // of the store, by d
	})
	fmt.Println(n, err)
	// Output:
	// ocilayer of 3219 bytes needs 1 object
	// 3219 <nil>
}

func ExampleReader_Chunks() {
	object, err := fsverity.Sum(fsverity.SHA256, []byte("content"))
	if err != nil {
		log.Fatal(err)
	}
	w := splitstream.NewWriter(splitstream.WriterOptions{})
	fmt.Fprint(w, "before")
	w.Object(object, 7)
	fmt.Fprint(w, "after")
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		log.Fatal(err)
	}

	r, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), splitstream.ReaderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for chunk, err := range r.Chunks() {
		switch {
		case err != nil:
			log.Fatal(err)
		case chunk.Object.IsZero():
			fmt.Printf("%q\n", chunk.Inline)
		default:
			fmt.Println("object", chunk.Object.String()[:8])
		}
	}
	// Output:
	// "before"
	// object c15b6e62
	// "after"
}

// What the garbage collector of a store has to keep for a splitstream.
func ExampleReader_References() {
	layer, err := fsverity.Sum(fsverity.SHA256, []byte("a layer's splitstream"))
	if err != nil {
		log.Fatal(err)
	}
	config, err := fsverity.Sum(fsverity.SHA256, []byte("{}"))
	if err != nil {
		log.Fatal(err)
	}
	w := splitstream.NewWriter(splitstream.WriterOptions{ContentType: splitstream.Config})
	w.Object(config, 2)
	w.NamedRef("sha256:3a7f", layer) // the layer's diff id
	var file bytes.Buffer
	if _, err := w.Finish(&file); err != nil {
		log.Fatal(err)
	}

	r, err := splitstream.Open(bytes.NewReader(file.Bytes()), int64(file.Len()),
		splitstream.ReaderOptions{Algorithm: fsverity.SHA256, ContentType: splitstream.Config})
	if err != nil {
		log.Fatal(err)
	}
	for d := range r.References() {
		fmt.Println(d == config, d == layer)
	}
	// Output:
	// true false
	// false true
}
