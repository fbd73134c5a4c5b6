package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func atNow() time.Time { return now }

// reference is a [Reference] with scopes of one's own choice.
type reference struct {
	transport string
	scopes    []string
}

func (r reference) Transport() string { return r.transport }
func (r reference) Scopes() []string  { return r.scopes }
func (r reference) String() string    { return r.transport + "://" + r.scopes[0] }

// release is an image in a registry.
var release = reference{"docker", []string{
	"registry.example.com/team/app:1", "registry.example.com/team/app", "registry.example.com/team", "registry.example.com",
	"*.example.com", "*.com",
}}

// signer is a key with a certificate, and the file of that.
type signer struct {
	*seal.Signer
	file string
}

func newSigner(t testing.TB, dir, name string, change ...func(*x509.Certificate)) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:   big.NewInt(int64(len(name))),
		Subject:        pkix.Name{CommonName: name, Organization: []string{"Example"}},
		NotBefore:      now.AddDate(-1, 0, 0),
		NotAfter:       now.AddDate(1, 0, 0),
		KeyUsage:       x509.KeyUsageDigitalSignature,
		EmailAddresses: []string{name + "@Example.com"},
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), crypto.Signer(key))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s, err := seal.NewSigner(key, []*x509.Certificate{cert}, seal.SignerOptions{Now: func() time.Time { return cert.NotBefore }})
	if err != nil {
		t.Fatal(err)
	}
	file := name + ".pem"
	write(t, filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return signer{s, file}
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func sum(t testing.TB, alg fsverity.Algorithm, text string) fsverity.Digest {
	t.Helper()
	d, err := fsverity.Sum(alg, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// image is an image as it is, with the digest of its manifest.
func image(t testing.TB, name string) (digest.Digest, seal.Digests) {
	t.Helper()
	alg := fsverity.SHA512
	return digest.FromString(name), seal.Digests{
		Algorithm: alg,
		Manifest:  sum(t, alg, name+" manifest"),
		Config:    sum(t, alg, name+" config"),
		Merged:    sum(t, alg, name+" merged"),
		Bootable:  sum(t, alg, name+" bootable"),
	}
}

// sealed is the seal of digests, signed if by somebody.
func sealed(t testing.TB, d seal.Digests, by *signer) seal.Seal {
	t.Helper()
	s := seal.Seal{Digests: d}
	if by != nil {
		var err error
		if s.Signatures, err = by.SignAll(d); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// parsePolicy reads a policy whose file is in dir.
func parsePolicy(t testing.TB, dir, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text), filepath.Join(dir, "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
