package seal

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// SignerOptions say how signatures are made. The zero value is good.
type SignerOptions struct {
	// Bare leaves the certificates out of the signature, as the program fsverity does: then only
	// those who have the signer's own certificate can check it, not those who have its authority's.
	Bare bool
	// Now tells the time at which the certificate must be valid; [time.Now] if nil.
	Now func() time.Time
}

// Signer makes signatures. It is safe for concurrent use if its key is.
type Signer struct {
	key   crypto.Signer
	chain []*x509.Certificate
	opts  SignerOptions
}

// NewSigner returns a signer by a key, which may be in memory or anywhere else, with the key's
// certificate and those that lead from it to an authority, each certified by the next. [ErrKey] reports
// a key that the kernel cannot check, certificates that do not fit, and [ErrExpired] one that is not
// valid now.
func NewSigner(key crypto.Signer, chain []*x509.Certificate, opts SignerOptions) (*Signer, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("make signer: %w: no certificate", ErrKey)
	}
	if len(chain) > maxCertificates {
		return nil, fmt.Errorf("make signer: %w: %d certificates, at most %d", ErrTooLarge, len(chain), maxCertificates)
	}
	if err := checkKey(key.Public()); err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return nil, fmt.Errorf("make signer: %w: it is not that of the certificate of %q", ErrKey, chain[0].Subject)
	}
	for i := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, fmt.Errorf("make signer: %w: certificate of %q is not by %q, which follows it: %w", ErrKey, chain[i].Subject, chain[i+1].Subject, err)
		}
	}
	now := time.Now
	if opts.Now != nil {
		now = opts.Now
	}
	// Who would verify it by itself, as it were, refuses it for the same reasons.
	if err := NewTrust(chain[0]).check(chain[0], nil, now()); err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	return &Signer{key, slices.Clone(chain), opts}, nil
}

func checkKey(public crypto.PublicKey) error {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Errorf("%w: RSA key of %d bits, not of %d to %d", ErrKey, bits, minRSA, maxRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("%w: curve %s", ErrKey, public.Curve.Params().Name)
	case ed25519.PublicKey:
		return fmt.Errorf("%w: Ed25519, which the kernel cannot check; take RSA or ECDSA", ErrKey)
	}
	return fmt.Errorf("%w: %T", ErrKey, public)
}

// Identity returns who signs.
func (s *Signer) Identity() *Identity { return identityOf(s.chain[0]) }

// Certificate returns the certificate of the key.
func (s *Signer) Certificate() *x509.Certificate { return s.chain[0] }

// Sign returns a signature of a digest, in DER, for FS_IOC_ENABLE_VERITY among others. With RSA equal
// digests have equal signatures.
func (s *Signer) Sign(d fsverity.Digest) ([]byte, error) {
	if d.IsZero() {
		return nil, fmt.Errorf("sign: %w: no digest", ErrMissing)
	}
	hash := crypto.SHA256
	if d.Hash() == fsverity.HashSHA512 {
		hash = crypto.SHA512
	}
	message := fsverity.FormattedDigest(d)
	h := hash.New()
	h.Write(message)
	signature, err := s.key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		return nil, fmt.Errorf("sign %v: %w", d, err)
	}
	der, err := encodeSigned(hash, s.chain[0], signature, s.embedded())
	if err != nil {
		return nil, fmt.Errorf("sign %v: %w", d, err)
	}
	if len(der) > MaxSignature {
		return nil, fmt.Errorf("sign %v: signature with %d certificates: %w: %d bytes, at most %d", d, len(s.embedded()), ErrTooLarge, len(der), MaxSignature)
	}
	// A token may sign something else than it was asked to; better to know it here.
	check := Verifier{Trust: NewTrust(s.chain[0]), Now: s.opts.Now}
	if _, err := check.Check(d, der); err != nil {
		return nil, fmt.Errorf("sign %v: the key has made a signature that is wrong: %w", d, err)
	}
	return der, nil
}

// embedded returns the certificates that go into signatures: not the authority's own at the end, since it
// is worth nothing to who does not have it already.
func (s *Signer) embedded() []*x509.Certificate {
	if s.opts.Bare {
		return nil
	}
	last := len(s.chain) - 1
	if last > 0 && s.chain[last].CheckSignatureFrom(s.chain[last]) == nil {
		return s.chain[:last]
	}
	return s.chain
}

// SignAll signs every digest that is there.
func (s *Signer) SignAll(d Digests) (Signatures, error) {
	signatures := Signatures{}
	if d.Layers != nil {
		signatures.Layers = make([][]byte, len(d.Layers))
	}
	for i, sum := range d.All() {
		der, err := s.Sign(sum)
		if err != nil {
			return Signatures{}, fmt.Errorf("%v: %w", i, err)
		}
		*signatures.place(i) = der
	}
	return signatures, nil
}
