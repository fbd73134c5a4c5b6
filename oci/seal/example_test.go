package seal_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
)

// A release is signed by whoever makes it, and verified by whoever has the signer's certificate. Here the key is in
// memory; it can be in a token as well, as long as it is a [crypto.Signer].
func Example() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := selfSigned("release", key)
	signer, err := seal.NewSigner(key, []*x509.Certificate{cert}, seal.SignerOptions{})
	if err != nil {
		panic(err)
	}

	image := digests("image")
	signatures, err := signer.SignAll(image)
	if err != nil {
		panic(err)
	}
	s := seal.Seal{Digests: image, Signatures: signatures}

	want := seal.Requirements{
		Verifier: &seal.Verifier{Trust: seal.NewTrust(cert)},
		Signed:   []seal.Part{seal.Manifest, seal.Config, seal.Merged},
	}
	report := seal.Verify(digests("image"), s, want)
	fmt.Println(report.OK, report.Signers()[0].Subject)

	report = seal.Verify(digests("another image"), s, want)
	fmt.Println(report.OK, errors.Is(report.Err(), seal.ErrWrongDigest))
	// Output:
	// true CN=release
	// false true
}

// digests stand for those that are computed from an image.
func digests(name string) seal.Digests {
	d := seal.Digests{Algorithm: fsverity.SHA512}
	for part, at := range map[string]*fsverity.Digest{"manifest": &d.Manifest, "config": &d.Config, "tree": &d.Merged} {
		sum, err := fsverity.Sum(d.Algorithm, []byte(name+"'s "+part))
		if err != nil {
			panic(err)
		}
		*at = sum
	}
	return d
}

func selfSigned(name string, key *ecdsa.PrivateKey) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}
