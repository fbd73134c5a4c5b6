package fsverity

import "sync"

// readSize is how much is read from a file at a time, in bytes; a multiple of every block size.
const readSize = 128 << 10

// work is what hashing one file without salt needs. Small files come by the ten thousand: the
// memory is used again.
type work struct {
	Hasher
	buf []byte // readSize bytes, made by buffer
}

var works [4]sync.Pool // of *work, by workPool

func workPool(alg Algorithm) *sync.Pool {
	i := 0
	if alg.Hash == HashSHA512 {
		i++
	}
	if alg.BlockBits == 16 {
		i += 2
	}
	return &works[i]
}

// getWork returns an unused work for the options; give it to putWork after use.
func getWork(opts Options) (*work, error) {
	if opts.Algorithm = opts.Algorithm.orDefault(); opts.Algorithm.Valid() && len(opts.Salt) == 0 {
		if w, ok := workPool(opts.Algorithm).Get().(*work); ok {
			w.Reset()
			return w, nil
		}
	}
	h, err := NewHasher(opts)
	if err != nil {
		return nil, err
	}
	return &work{Hasher: *h}, nil
}

func putWork(w *work) {
	if len(w.salt) == 0 {
		workPool(w.alg).Put(w)
	}
}

func (w *work) buffer() []byte {
	if w.buf == nil {
		w.buf = make([]byte, readSize)
	}
	return w.buf
}

// Sum returns the digest of data, without salt, or [ErrAlgorithm]. The zero Algorithm means
// [SHA256].
func Sum(alg Algorithm, data []byte) (Digest, error) {
	w, err := getWork(Options{Algorithm: alg})
	if err != nil {
		return Digest{}, err
	}
	defer putWork(w)
	_, _ = w.Write(data) // never fails
	return w.Digest(), nil
}
