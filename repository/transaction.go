package repository

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
	"github.com/go-composefs/composefs/splitstream"
	"github.com/go-composefs/composefs/tree"
)

// TransactionOptions say how a transaction puts objects.
type TransactionOptions struct {
	Owner string // who it is, for those who look at leases; the zero value means "transaction"
	// Link puts files by hard links where it can. They must never change again.
	Link bool
	// CompareExisting compares the content of objects that are there already, also if nobody
	// seems to have written to them.
	CompareExisting bool
}

// Transaction is a number of things that get into the repository together. What it has put, or found
// there already, is not collected until it ends. It is safe for concurrent use, up to Commit.
//
// End each one by Commit or Abort; Abort after Commit does nothing.
type Transaction struct {
	r       *Repository
	lease   *Lease
	objects *objects.Dir

	mu         sync.Mutex
	images     map[fsverity.Digest]struct{}
	streams    map[string]fsverity.Digest
	imageRefs  map[string]fsverity.Digest
	streamRefs map[string]string
	ended      bool
}

// Begin begins a transaction. It waits as long as a program of composefs-rs collects garbage.
func (r *Repository) Begin(ctx context.Context, opts TransactionOptions) (*Transaction, error) {
	if opts.Owner == "" {
		opts.Owner = "transaction"
	}
	lease, err := r.newLease(ctx, opts.Owner, 0)
	if err != nil {
		return nil, fmt.Errorf("begin transaction: %w", err)
	}
	dir, err := r.openObjects(objects.Options{
		Claim: lease.claim, Link: opts.Link, CompareExisting: opts.CompareExisting,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin transaction: %w", err), lease.Release())
	}
	return &Transaction{
		r: r, lease: lease, objects: dir,
		images: map[fsverity.Digest]struct{}{}, streams: map[string]fsverity.Digest{},
		imageRefs: map[string]fsverity.Digest{}, streamRefs: map[string]string{},
	}, nil
}

// openObjects opens the directory of objects for writing.
func (r *Repository) openObjects(opts objects.Options) (*objects.Dir, error) {
	own := r.putOptions()
	own.Claim, own.Link, own.CompareExisting = opts.Claim, opts.Link, opts.CompareExisting
	if len(r.stores) > 0 {
		own.Elsewhere = r.storedElsewhere
	}
	return objects.OpenIn(r.root, objectsDir, own)
}

// putOptions are those of every directory of objects that is written to.
func (r *Repository) putOptions() objects.Options {
	opts := objects.Options{Algorithm: r.meta.Algorithm, Create: true, Verity: objects.VerityTry}
	if r.verity {
		opts.Verity = objects.VerityRequire
	}
	return opts
}

// Objects is where the transaction's objects are put. It stays the transaction's.
func (t *Transaction) Objects() *objects.Dir { return t.objects }

// Put stores the content of a file, see [objects.Dir.Put]. It makes a Transaction a
// [tree.ObjectSink].
func (t *Transaction) Put(ctx context.Context, f *os.File, size int64) (fsverity.Digest, error) {
	stored, err := t.objects.Put(ctx, f, size)
	return stored.Digest, err
}

// Use makes sure that an object is there and stays. It is [ErrNotFound] if it is not.
func (t *Transaction) Use(digest fsverity.Digest) error { return t.use(digest, -1) }

// use is Use for an object of a size, unless that is negative.
func (t *Transaction) use(digest fsverity.Digest, size int64) error {
	if err := t.lease.claim(digest); err != nil {
		return err
	}
	return t.present(digest, size)
}

// present is use for an object that has been claimed.
func (t *Transaction) present(digest fsverity.Digest, size int64) error {
	got, err := t.r.objects.Size(digest)
	if err == nil && (size < 0 || got == size) {
		return nil
	}
	if err != nil && !gone(err) {
		return err
	}
	ok, err := t.r.storedElsewhere(digest, size)
	if err == nil && !ok {
		err = fmt.Errorf("object %s: %w", digest, ErrNotFound)
	}
	return err
}

// PutTree makes an image of a tree, in the repository's format, and returns its digest, by which it
// is known once the transaction is committed. All objects of the tree must be there, see
// [Transaction.Put] and [Transaction.Use].
func (t *Transaction) PutTree(ctx context.Context, root *tree.Inode) (fsverity.Digest, error) {
	return t.PutTreeAs(ctx, root, t.r.meta.Format())
}

// PutTreeAs is PutTree for one of the formats of [Meta.ImageFormats].
func (t *Transaction) PutTreeAs(ctx context.Context, root *tree.Inode, format erofs.Format) (fsverity.Digest, error) {
	reader, writer := io.Pipe()
	var want fsverity.Digest
	go func() {
		result, err := erofs.Write(writer, root, erofs.WriteOptions{Format: format, Algorithm: t.r.meta.Algorithm})
		want = result.Digest
		writer.CloseWithError(err)
	}()
	stored, err := t.objects.PutReader(ctx, reader)
	_ = reader.Close() // ends the writer after an error; never fails
	if err != nil {
		return fsverity.Digest{}, fmt.Errorf("put image: %w", err)
	}
	if stored.Digest != want {
		return fsverity.Digest{}, fmt.Errorf("put image: %w: %s was written and %s is stored",
			fsverity.ErrDigestMismatch, want, stored.Digest)
	}
	t.addImage(stored.Digest)
	return stored.Digest, nil
}

// PutImage stores an image that exists, after a check that it is one and that all its objects are
// there. A missing one is [ErrNotFound].
func (t *Transaction) PutImage(ctx context.Context, image io.Reader) (fsverity.Digest, error) {
	stored, err := t.objects.PutReader(ctx, image)
	if err != nil {
		return fsverity.Digest{}, fmt.Errorf("put image: %w", err)
	}
	if err := t.useObjects(ctx, stored.Digest); err != nil {
		return fsverity.Digest{}, fmt.Errorf("put image %s: %w", stored.Digest, err)
	}
	t.addImage(stored.Digest)
	return stored.Digest, nil
}

// useObjects is Use for all objects of an image.
func (t *Transaction) useObjects(ctx context.Context, image fsverity.Digest) error {
	refs, err := t.r.imageObjects(image)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.Use(ref.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transaction) addImage(digest fsverity.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.images[digest] = struct{}{}
}

// NewStream begins a stream for [Transaction.PutStream]. Close it if it is not put.
func (t *Transaction) NewStream(kind splitstream.ContentType) *splitstream.Writer {
	return splitstream.NewWriter(splitstream.WriterOptions{
		Algorithm: t.r.meta.Algorithm, ContentType: kind, Scratch: t.r.scratch,
	})
}

// scratch returns a file without a name.
func (r *Repository) scratch() (*os.File, error) {
	name := tempScratch + rand.Text()
	f, err := r.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := r.root.Remove(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// tempScratch is what names begin with of files that lose them at once.
const tempScratch = ".scratch-"

// PutStream stores a stream under the id of its content, and returns the digest of its object. What
// it refers to must be there.
func (t *Transaction) PutStream(ctx context.Context, id string, w *splitstream.Writer) (fsverity.Digest, error) {
	if err := CheckStream(id); err != nil {
		return fsverity.Digest{}, fmt.Errorf("put stream: %w", err)
	}
	reader, writer := io.Pipe()
	go func() {
		_, err := w.Finish(writer)
		writer.CloseWithError(err)
	}()
	stored, err := t.objects.PutReader(ctx, reader)
	_ = reader.Close() // ends the writer after an error; never fails
	if err != nil {
		return fsverity.Digest{}, fmt.Errorf("put stream %s: %w", id, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams[id] = stored.Digest
	return stored.Digest, nil
}

// TagImage gives an image a name on Commit, one that another image may have until then. The image is
// of this transaction, or in the repository.
func (t *Transaction) TagImage(name string, image fsverity.Digest) error {
	if err := CheckRef(name); err != nil {
		return err
	}
	t.mu.Lock()
	_, own := t.images[image]
	t.mu.Unlock()
	if !own {
		if err := t.lease.claim(image); err != nil {
			return err
		}
		if _, err := t.r.images().entry(image.String()); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.imageRefs[name] = image
	return nil
}

// TagStream gives a stream a name on Commit. The stream is of this transaction, or in the
// repository.
func (t *Transaction) TagStream(name, id string) error {
	if err := CheckRef(name); err != nil {
		return err
	}
	t.mu.Lock()
	_, own := t.streams[id]
	t.mu.Unlock()
	if !own {
		if _, err := t.UseStream(id); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streamRefs[name] = id
	return nil
}

// UseStream makes sure that a stream is there and stays, with all it refers to, and returns the digest of
// its object. It is [ErrNotFound] if it is not there, and was not put by the transaction.
func (t *Transaction) UseStream(id string) (fsverity.Digest, error) {
	t.mu.Lock()
	digest, own := t.streams[id]
	t.mu.Unlock()
	if own {
		return digest, nil
	}
	digest, err := t.r.streams().entry(id)
	if err != nil {
		return fsverity.Digest{}, err
	}
	if err := t.lease.claim(digest); err != nil {
		return fsverity.Digest{}, err
	}
	again, err := t.r.streams().entry(id) // it may have been collected before it was claimed
	if err == nil && again != digest {
		return t.UseStream(id) // it was put again meanwhile
	}
	if err == nil {
		err = t.present(digest, -1) // another id of equal content may have gone with it
	}
	return digest, err
}

// OpenObject opens an object of the repository, also one that the transaction has put. Close it after use.
func (t *Transaction) OpenObject(digest fsverity.Digest) (*os.File, error) {
	return t.r.OpenObject(digest)
}

// OpenStream opens a stream that the transaction has put, or one of the repository. Close it after use.
func (t *Transaction) OpenStream(id string) (*Stream, error) {
	t.mu.Lock()
	digest, own := t.streams[id]
	t.mu.Unlock()
	if !own {
		return t.r.OpenStream(id)
	}
	s, err := t.r.openStream(digest)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", id, err)
	}
	s.ID = id
	return s, nil
}

// Abort ends the transaction. Objects that it has put stay until they are collected.
func (t *Transaction) Abort() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil
	}
	t.ended = true
	return errors.Join(t.objects.Close(), t.lease.Release())
}

// Commit makes everything durable and then visible: objects, images, streams, refs. After an error
// there are no refs to what is incomplete; some of the things may be there.
func (t *Transaction) Commit(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return fmt.Errorf("commit transaction: %w", os.ErrClosed)
	}
	if err := t.commit(ctx); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	t.ended = true
	return errors.Join(t.objects.Close(), t.lease.Release())
}

func (t *Transaction) commit(ctx context.Context) error {
	if err := t.objects.Sync(); err != nil {
		return err
	}
	leave, lost, err := t.r.guard.enter(ctx, t.lease)
	if err != nil {
		return err
	}
	defer leave()
	if lost {
		if err := t.stillThere(); err != nil {
			return err
		}
	}
	if err := t.lease.d.changeLinks(t.setEntries); err != nil {
		return err
	}
	// A ref that outlives a power failure must have its entry then.
	if err := t.syncEntries(); err != nil {
		return err
	}
	if err := t.lease.d.changeLinks(t.setRefs); err != nil {
		return err
	}
	return t.syncRefs()
}

func (t *Transaction) setEntries() error {
	for digest := range t.images {
		if err := t.r.images().setEntry(digest.String(), digest); err != nil {
			return err
		}
	}
	for id, digest := range t.streams {
		if err := t.r.streams().setEntry(id, digest); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transaction) setRefs() error {
	for name, digest := range t.imageRefs {
		if err := t.r.images().setRef(name, digest.String()); err != nil {
			return err
		}
	}
	for name, id := range t.streamRefs {
		if err := t.r.streams().setRef(name, id); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transaction) syncEntries() error {
	var dirs []string
	if len(t.images) > 0 {
		dirs = append(dirs, t.r.images().dir)
	}
	if len(t.streams) > 0 {
		dirs = append(dirs, t.r.streams().dir)
	}
	if len(dirs) > 0 {
		dirs = append(dirs, ".") // they may be new
	}
	for _, dir := range dirs {
		if err := t.r.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transaction) syncRefs() error {
	dirs := t.r.images().dirs(slices.Collect(maps.Keys(t.imageRefs)))
	dirs = append(dirs, t.r.streams().dirs(slices.Collect(maps.Keys(t.streamRefs)))...)
	for _, dir := range dirs {
		// One that is gone was empty: somebody has removed the ref again.
		if err := t.r.syncDir(dir); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// stillThere finds out what another program's collector has left of what the lease lists.
func (t *Transaction) stillThere() error {
	for digest, err := range t.lease.listed(t.r.meta.Algorithm) {
		if err != nil {
			return err
		}
		ok, err := t.r.Has(digest)
		if err != nil {
			return err
		}
		if !ok && !t.r.guard.wasCanary(digest) {
			return fmt.Errorf("%w: %s", ErrCollected, digest)
		}
	}
	return nil
}
