package repository

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/tree"
)

// newRepository makes a repository whose objects need no fs-verity.
func newRepository(t *testing.T, alg fsverity.Algorithm) *Repository {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repo")
	if _, err := Create(path, CreateOptions{Algorithm: alg, Insecure: true}); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t *testing.T, path string) *Repository {
	t.Helper()
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func begin(t *testing.T, r *Repository) *Transaction {
	t.Helper()
	tx, err := r.Begin(t.Context(), TransactionOptions{Owner: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Abort() })
	return tx
}

// files are contents by names without directories.
type files map[string]string

// writeFiles makes a directory of files.
func writeFiles(t *testing.T, content files) *os.File {
	t.Helper()
	path := t.TempDir()
	for name, data := range content {
		if err := os.WriteFile(filepath.Join(path, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// putFiles puts an image of files, all of them external, into a transaction.
func putFiles(t *testing.T, tx *Transaction, content files) fsverity.Digest {
	t.Helper()
	digest, err := scanInto(t.Context(), tx, writeFiles(t, content))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func scanInto(ctx context.Context, tx *Transaction, dir *os.File) (fsverity.Digest, error) {
	root, err := tree.Scan(ctx, dir, tree.ScanOptions{Sink: tx, InlineMax: -1, UseEpoch: true})
	if err != nil {
		return fsverity.Digest{}, err
	}
	return tx.PutTree(ctx, root)
}

// importFiles puts an image of files into the repository, under names.
func importFiles(t *testing.T, r *Repository, content files, names ...string) fsverity.Digest {
	t.Helper()
	tx := begin(t, r)
	digest := putFiles(t, tx, content)
	for _, name := range names {
		if err := tx.TagImage(name, digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return digest
}

// digestOf returns the digest that content has in a repository.
func digestOf(t *testing.T, r *Repository, content string) fsverity.Digest {
	t.Helper()
	digest, err := fsverity.Sum(r.Algorithm(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// wantObjects fails unless the repository has the objects of exactly these contents, besides those of
// images and streams.
func wantHas(t *testing.T, r *Repository, content string, want bool) {
	t.Helper()
	if ok, err := r.Has(digestOf(t, r, content)); err != nil || ok != want {
		t.Errorf("object of %q is there: %v, %v; want %v", content, ok, err, want)
	}
}

func collect(t *testing.T, r *Repository, opts CollectOptions) Collected {
	t.Helper()
	got, err := r.Collect(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantWhole fails unless every ref has an image of which all is there and as it should be.
func wantWhole(t *testing.T, r *Repository) {
	t.Helper()
	images, err := r.Images()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range images {
		if info.Err != nil {
			t.Errorf("image %v %s: %v", info.Refs, info.Digest, info.Err)
			continue
		}
		if len(info.Refs) == 0 {
			continue
		}
		refs, err := r.imageObjects(info.Digest)
		if err != nil {
			t.Errorf("image %v: %v", info.Refs, err)
			continue
		}
		for _, ref := range append(refs, ObjectRef{Digest: info.Digest}) {
			if err := r.objects.Verify(t.Context(), ref.Digest); err != nil {
				t.Errorf("image %v: %v", info.Refs, err)
			}
		}
	}
}
