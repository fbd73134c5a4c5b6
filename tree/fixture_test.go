package tree_test

import (
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

// must ends the test when making a fixture fails.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digestOf(t testing.TB, data []byte) fsverity.Digest {
	t.Helper()
	d, err := fsverity.Sum(fsverity.SHA256, data)
	must(t, err)
	return d
}
