//go:build vmguest

package guest

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-composefs/composefs/fsverity"
)

// A signer is a key with a certificate of its own.
type signer struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: t.Name()},
		NotBefore:    time.Unix(1_700_000_000, 0),
		NotAfter:     time.Unix(4_000_000_000, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, cert}
}

// sign makes a detached PKCS#7 signature (RFC 2315) without attributes or certificates, the form
// that Documentation/filesystems/fsverity.rst asks for.
func (s signer) sign(t *testing.T, message []byte) []byte {
	t.Helper()
	type algorithm struct {
		OID    asn1.ObjectIdentifier
		Params asn1.RawValue
	}
	type issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	type signerInfo struct {
		Version   int
		Signer    issuerAndSerial
		Digest    algorithm
		Encrypted algorithm
		Signature []byte
	}
	type contentInfo struct {
		OID asn1.ObjectIdentifier
	}
	type signedData struct {
		Version int
		Digests []algorithm `asn1:"set"`
		Content contentInfo
		Signers []signerInfo `asn1:"set"`
	}
	type outer struct {
		OID  asn1.ObjectIdentifier
		Data signedData `asn1:"explicit,tag:0"`
	}
	sum := sha256.Sum256(message)
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	withSHA256 := algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, asn1.NullRawValue}
	withRSA := algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue}
	der, err := asn1.Marshal(outer{
		OID: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, // signedData
		Data: signedData{
			Version: 1,
			Digests: []algorithm{withSHA256},
			Content: contentInfo{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}}, // data
			Signers: []signerInfo{{
				Version:   1,
				Signer:    issuerAndSerial{asn1.RawValue{FullBytes: s.cert.RawIssuer}, s.cert.SerialNumber},
				Digest:    withSHA256,
				Encrypted: withRSA,
				Signature: signature,
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// trust gives the certificate to the kernel, for all files from now on.
func (s signer) trust(t *testing.T) {
	t.Helper()
	if _, err := unix.AddKey("asymmetric", "", s.cert.Raw, keyring(t)); err != nil {
		t.Fatalf("add the certificate to the kernel's keyring: %v", err)
	}
}

// keyring returns the id of the kernel's keyring for fs-verity.
func keyring(t *testing.T) int {
	t.Helper()
	keys, err := os.Open("/proc/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	for lines := bufio.NewScanner(keys); lines.Scan(); {
		if !strings.Contains(lines.Text(), " .fs-verity:") {
			continue
		}
		ring, err := strconv.ParseUint(strings.Fields(lines.Text())[0], 16, 31)
		if err != nil {
			t.Fatal(err)
		}
		return int(ring)
	}
	t.Fatal("the kernel has no keyring .fs-verity")
	return 0
}

func TestSignatureIsCheckedByTheKernel(t *testing.T) {
	trusted, stranger := newSigner(t), newSigner(t)
	trusted.trust(t)
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.String(), func(t *testing.T) {
			dir := workDir(t)
			content := blocks(t.Name(), 3)
			d, err := fsverity.Sum(alg, content)
			if err != nil {
				t.Fatal(err)
			}
			other, err := fsverity.Sum(alg, content[1:])
			if err != nil {
				t.Fatal(err)
			}
			tests := []struct {
				name      string
				signature []byte
				good      bool
			}{
				{"stranger", stranger.sign(t, fsverity.FormattedDigest(d)), false},
				{"signature of another file", trusted.sign(t, fsverity.FormattedDigest(other)), false},
				{"garbage", []byte("garbage"), false},
				{"good", trusted.sign(t, fsverity.FormattedDigest(d)), true},
			}
			for _, test := range tests {
				path := dir + "/" + test.name
				writeFile(t, path, content)
				err := fsverity.Enable(open(t, path), fsverity.EnableOptions{
					Options: fsverity.Options{Algorithm: alg}, Signature: test.signature,
				})
				if (err == nil) != test.good {
					t.Errorf("%s: enable with it: %v", test.name, err)
				}
				want := ""
				if test.good {
					want = d.String()
				}
				if got := measure(t, path); got != want {
					t.Errorf("%s: the kernel measures %q afterwards, want %q", test.name, got, want)
				}
			}
		})
	}
}
