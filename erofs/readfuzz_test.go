package erofs_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/go-composefs/composefs/erofs"
)

// fuzzBases are good images whose bytes the fuzzers change, and for each the offsets of the
// bytes that are not zero, where changes matter.
func fuzzBases(f *testing.F) (images [][]byte, offsets [][]int) {
	f.Helper()
	for _, format := range []erofs.Format{erofs.FormatV0, erofs.FormatV1, erofs.FormatV2} {
		root := randomTree(9)
		if format == erofs.FormatV2 {
			clampToV2(root)
		}
		var image bytes.Buffer
		if _, err := erofs.Write(&image, root, erofs.WriteOptions{Format: format}); err != nil {
			f.Fatal(err)
		}
		images = append(images, image.Bytes())
	}
	stored := storedImages(f)
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		// A checksum would make all changes of the superblock equal.
		stored[name][super+8] &^= 1
		images = append(images, stored[name])
	}
	for _, image := range images {
		var at []int
		for i, b := range image {
			if b != 0 {
				at = append(at, i)
			}
		}
		offsets = append(offsets, at)
	}
	return images, offsets
}

// patch changes an image by triples: which of the bytes that matter, in two bytes, and its new
// value.
func patch(image []byte, offsets []int, edits []byte) []byte {
	b := bytes.Clone(image)
	for ; len(edits) >= 3; edits = edits[3:] {
		b[offsets[(int(edits[0])<<8|int(edits[1]))%len(offsets)]] = edits[2]
	}
	return b
}

// Whatever the bytes, opening and reading ends without a panic.
func FuzzOpen(f *testing.F) {
	for _, image := range storedImages(f) {
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		img, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			if !errors.Is(err, erofs.ErrCorrupt) && !errors.Is(err, erofs.ErrUnsupported) {
				t.Errorf("unexpected error: %v", err)
			}
			return
		}
		readAll(img)
	})
}

// A composefs image that loads can be written, and that loads as the same tree.
func FuzzTree(f *testing.F) {
	images, offsets := fuzzBases(f)
	for base := range images {
		f.Add(byte(base), []byte{0, 40, 1, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, base byte, edits []byte) {
		i := int(base) % len(images)
		image := patch(images[i], offsets[i], edits)
		img, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		root, err := img.Tree(erofs.TreeOptions{})
		if err != nil {
			if !errors.Is(err, erofs.ErrCorrupt) && !errors.Is(err, erofs.ErrUnsupported) {
				t.Errorf("unexpected error: %v", err)
			}
			return
		}
		if !img.Composefs() {
			return
		}
		var again bytes.Buffer
		if _, err := erofs.Write(&again, root, erofs.WriteOptions{Format: img.Format()}); err != nil {
			if !errors.Is(err, erofs.ErrLimit) {
				t.Errorf("a tree that was loaded cannot be written: %v", err)
			}
			return
		}
		loaded := loadTree(t, again.Bytes())
		if a, b := describeTree(root), describeTree(loaded); !slices.Equal(a, b) {
			t.Errorf("the tree changes when it is written:\n%q\n%q", a, b)
		}
		checkFixedPoint(t, again.Bytes())
	})
}

// Check ends, and what it calls sound loads.
func FuzzCheck(f *testing.F) {
	images, offsets := fuzzBases(f)
	for base := range images {
		f.Add(byte(base), []byte{0, 40, 1, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, base byte, edits []byte) {
		i := int(base) % len(images)
		image := patch(images[i], offsets[i], edits)
		img, err := erofs.Open(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		found := problems(t, img, erofs.CheckOptions{MaxProblems: 100})
		if len(found) > 101 {
			t.Errorf("%d problems", len(found))
		}
		_, err = img.Tree(erofs.TreeOptions{MetadataOnly: true})
		if len(found) == 0 && err != nil && !errors.Is(err, erofs.ErrUnsupported) {
			t.Errorf("check finds nothing, and the image does not load: %v", err)
		}
	})
}
