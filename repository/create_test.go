package repository

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepositoryThatCannotBeMadeLeavesNoDirectories(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", strings.Repeat("x", 300))
	if _, err := Create(path, CreateOptions{Insecure: true}); err == nil {
		t.Fatal("made a repository of too long a name")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
