package repository

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// FindObject returns the one object, of the repository or its other stores, whose digest begins with at least two
// hexadecimal digits. It is [ErrNotFound] if there is none, and [ErrAmbiguous] if there are several.
func (r *Repository) FindObject(prefix string) (fsverity.Digest, error) {
	var found fsverity.Digest
	if len(prefix) < 2 {
		return found, fmt.Errorf("object %q: %w", prefix, ErrAmbiguous)
	}
	first, err := strconv.ParseUint(prefix[:2], 16, 8)
	if err != nil {
		return found, fmt.Errorf("object %q: %w", prefix, ErrNotFound)
	}
	dirs := []*objects.Dir{r.objects}
	for _, s := range r.stores {
		if s.dir != nil {
			dirs = append(dirs, s.dir)
		}
	}
	for _, dir := range dirs {
		names, err := dir.NamesIn(byte(first))
		if err != nil {
			return found, err
		}
		for _, n := range names {
			if n.Digest.IsZero() || n.Digest == found || !strings.HasPrefix(n.Digest.String(), prefix) {
				continue
			}
			if !found.IsZero() {
				return fsverity.Digest{}, fmt.Errorf("object %s: %w", prefix, ErrAmbiguous)
			}
			found = n.Digest
		}
	}
	if found.IsZero() {
		return found, fmt.Errorf("object %s: %w", prefix, ErrNotFound)
	}
	return found, nil
}
