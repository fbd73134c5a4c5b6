package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/repository"
)

// A mount that composefs-rs had made of another repository kept gc from working in this one.
func TestGcMindedMountsOfOtherRepositories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "repo")
	if _, err := repository.Create(path, repository.CreateOptions{Insecure: true}); err != nil {
		t.Fatal(err)
	}
	r, err := repository.Open(path, repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	info := mount.Info{Target: "/mnt", Image: strings.Repeat("ab", 32), Unknown: []string{"objects", "digest"}}
	if needed, err := neededByMount(t.Context(), r, info); err != nil || len(needed) > 0 {
		t.Errorf("got %v, %v", needed, err)
	}
	info.Image = "image.cfs"
	if _, err := neededByMount(t.Context(), r, info); err == nil {
		t.Error("a mount of a file that is not there is passed over")
	}
}
