package seal

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

func TestKeysThatTheKernelCannotCheckDoNotSign(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := newPair(t, "signer")
	root := newPair(t, "root", authority)
	byRoot := certify(t, "by root", p.key, &root)
	tests := []struct {
		name  string
		key   crypto.Signer
		chain []pair
		want  error
	}{
		{"Ed25519", edKey, []pair{certify(t, "ed25519", edKey, nil)}, ErrKey},
		{"P-224", nil, []pair{certify(t, "p224", newECDSA(t, elliptic.P224()), nil)}, ErrKey},
		{"RSA of 1024 bits", nil, []pair{certify(t, "rsa1024", newRSA(t, 1024), nil)}, ErrKey},
		{"no certificate", p.key, nil, ErrKey},
		{"certificate of another key", p.key, []pair{newPair(t, "other")}, ErrKey},
		{"certificates in the wrong order", p.key, []pair{byRoot, newPair(t, "x"), root}, ErrKey},
		{"expired", nil, []pair{newPair(t, "old", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })}, ErrExpired},
		{"not for signatures", nil, []pair{root}, ErrUntrusted},
		{"a chain", p.key, []pair{byRoot, root}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.key == nil {
				test.key = test.chain[0].key
			}
			var chain []*x509.Certificate
			for _, c := range test.chain {
				chain = append(chain, c.cert)
			}
			if _, err := NewSigner(test.key, chain, SignerOptions{Now: atNow}); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

// faulty is a key elsewhere that signs something else than it was asked to.
type faulty struct{ crypto.Signer }

func (f faulty) Sign(rand io.Reader, sum []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.Signer.Sign(rand, make([]byte, len(sum)), opts)
}

func TestWrongSignatureOfATokenIsNotGivenOut(t *testing.T) {
	p := newPair(t, "signer")
	p.key = faulty{p.key}
	if der, err := p.signer(t, SignerOptions{}).Sign(sum(t, fsverity.SHA256, "image")); !errors.Is(err, ErrWrongDigest) {
		t.Errorf("error %v, want %v; signature of %d bytes", err, ErrWrongDigest, len(der))
	}
	if _, err := p.signer(t, SignerOptions{}).Sign(fsverity.Digest{}); !errors.Is(err, ErrMissing) {
		t.Errorf("of no digest: %v, want %v", err, ErrMissing)
	}
}

func TestAuthoritysOwnCertificateStaysOut(t *testing.T) {
	root := newPair(t, "root", authority)
	middle := certify(t, "middle", newECDSA(t, elliptic.P256()), &root, authority)
	leaf := certify(t, "leaf", newECDSA(t, elliptic.P256()), &middle)
	d := sum(t, fsverity.SHA256, "image")
	for _, test := range []struct {
		name   string
		signer *Signer
		want   []string
	}{
		{"chain", leaf.signer(t, SignerOptions{}, middle, root), []string{"leaf", "middle"}},
		{"chain without the authority", leaf.signer(t, SignerOptions{}, middle), []string{"leaf", "middle"}},
		{"by itself", newPair(t, "self").signer(t, SignerOptions{}), []string{"self"}},
		{"bare", leaf.signer(t, SignerOptions{Bare: true}, middle, root), nil},
	} {
		parsed, err := parseSigned(mustSign(t, test.signer, d))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, cert := range parsed.certificates {
			names = append(names, cert.Subject.CommonName)
		}
		if !slices.Equal(names, test.want) {
			t.Errorf("%s: certificates of %v in it, want %v", test.name, names, test.want)
		}
	}
}
