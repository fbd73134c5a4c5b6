//go:build vmguest

package guest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	ociseal "github.com/go-composefs/composefs/oci/seal"
)

// certified is a key with a certificate.
type certified struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// certify makes a certificate for key, by issuer or by itself.
func certify(t *testing.T, name string, key crypto.Signer, issuer *certified, change ...func(*x509.Certificate)) certified {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: t.Name() + " " + name},
		NotBefore:             time.Unix(1_700_000_000, 0),
		NotAfter:              time.Unix(4_000_000_000, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  issuer == nil,
	}
	for _, f := range change {
		f(template)
	}
	parent, by := template, key
	if issuer != nil {
		parent, by = issuer.cert, issuer.key
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certified{key, cert}
}

func TestSignaturesOfSealsAreCheckedByTheKernel(t *testing.T) {
	rsaKey := func() crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	ecKey := func(curve elliptic.Curve) func() crypto.Signer {
		return func() crypto.Signer {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
	}
	keys := []struct {
		name string
		make func() crypto.Signer
	}{
		{"RSA", rsaKey}, {"P-256", ecKey(elliptic.P256())}, {"P-384", ecKey(elliptic.P384())}, {"P-521", ecKey(elliptic.P521())},
	}
	for _, k := range keys {
		t.Run(k.name, func(t *testing.T) {
			self := certify(t, "self", k.make(), nil)
			root := certify(t, "root", k.make(), nil)
			leaf := certify(t, "leaf", k.make(), &root)
			stranger := certify(t, "stranger", k.make(), nil)
			expired := certify(t, "expired", k.make(), nil, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.AddDate(0, 0, 1) })
			for _, c := range []certified{self, root, expired} {
				signer{cert: c.cert}.trust(t)
			}
			for _, test := range []struct {
				name string
				by   certified
				more []*x509.Certificate
				bare bool
				good bool
			}{
				{"trusted", self, nil, false, true},
				{"trusted, bare", self, nil, true, true},
				{"by a trusted authority", leaf, []*x509.Certificate{root.cert}, false, true},
				{"by a trusted authority, bare", leaf, []*x509.Certificate{root.cert}, true, false},
				{"expired, of which the kernel takes no notice", expired, nil, false, true},
				{"stranger", stranger, nil, false, false},
				{"stranger, bare", stranger, nil, true, false},
			} {
				for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
					s, err := ociseal.NewSigner(test.by.key, append([]*x509.Certificate{test.by.cert}, test.more...), ociseal.SignerOptions{
						Bare: test.bare, Now: func() time.Time { return test.by.cert.NotBefore },
					})
					if err != nil {
						t.Fatal(err)
					}
					content := blocks(t.Name()+test.name, 2)
					d, err := fsverity.Sum(alg, content)
					if err != nil {
						t.Fatal(err)
					}
					other, err := fsverity.Sum(alg, content[1:])
					if err != nil {
						t.Fatal(err)
					}
					checkEnable(t, test.name+", "+alg.Hash.String(), alg, content, s, d, test.good)
					checkEnable(t, test.name+", swapped, "+alg.Hash.String(), alg, content, s, other, false)
				}
			}
		})
	}
}

// checkEnable enables verity for content with a signature of d, and looks whether the kernel takes it.
func checkEnable(t *testing.T, name string, alg fsverity.Algorithm, content []byte, s *ociseal.Signer, d fsverity.Digest, good bool) {
	t.Helper()
	signature, err := s.Sign(d)
	if err != nil {
		t.Fatal(err)
	}
	path := workDir(t) + "/file"
	writeFile(t, path, content)
	err = fsverity.Enable(open(t, path), fsverity.EnableOptions{Options: fsverity.Options{Algorithm: alg}, Signature: signature})
	if (err == nil) != good {
		t.Errorf("%s: enable with it: %v", name, err)
	}
	want := ""
	if good {
		want = d.String()
	}
	if got := measure(t, path); got != want {
		t.Errorf("%s: the kernel measures %q afterwards, want %q", name, got, want)
	}
}
