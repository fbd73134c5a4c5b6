package seal

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
)

// now is when the tests are, for certificates.
var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func atNow() time.Time { return now }

// rsaKeys are made once: it takes a while.
var rsaKeys sync.Map // of func() *rsa.PrivateKey, by bits

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	once, _ := rsaKeys.LoadOrStore(bits, sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return key
	}))
	generate, ok := once.(func() *rsa.PrivateKey)
	if !ok {
		t.Fatal("not a key")
	}
	return generate()
}

func newECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pair is a key and its certificate.
type pair struct {
	key  crypto.Signer
	cert *x509.Certificate
}

var serial int64

// certify makes a certificate for key by issuer, or by itself. The template may be changed before.
func certify(t testing.TB, name string, key crypto.Signer, issuer *pair, change ...func(*x509.Certificate)) pair {
	t.Helper()
	serial++
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.AddDate(-1, 0, 0),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	for _, f := range change {
		f(template)
	}
	parent, by := template, key
	if issuer != nil {
		parent, by = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{key, cert}
}

// authority makes the certificate of an authority.
func authority(c *x509.Certificate) {
	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign
}

func newPair(t testing.TB, name string, change ...func(*x509.Certificate)) pair {
	t.Helper()
	return certify(t, name, newECDSA(t, elliptic.P256()), nil, change...)
}

func (p pair) signer(t testing.TB, opts SignerOptions, chain ...pair) *Signer {
	t.Helper()
	certs := []*x509.Certificate{p.cert}
	for _, c := range chain {
		certs = append(certs, c.cert)
	}
	opts.Now = atNow
	s, err := NewSigner(p.key, certs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p pair) sign(t testing.TB, d fsverity.Digest) []byte {
	t.Helper()
	return mustSign(t, p.signer(t, SignerOptions{}), d)
}

func mustSign(t testing.TB, s *Signer, d fsverity.Digest) []byte {
	t.Helper()
	der, err := s.Sign(d)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// write puts certificate and key into PEM files and returns their names.
func (p pair) write(t testing.TB) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
	writeFile(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return cert, key
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// temp writes data into a new file and returns its name.
func temp(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	writeFile(t, name, data)
	return name
}

// sum is the digest of some text, for where any digest will do.
func sum(t testing.TB, alg fsverity.Algorithm, text string) fsverity.Digest {
	t.Helper()
	d, err := fsverity.Sum(alg, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sample is the digests of an image with so many layers.
func sample(t testing.TB, alg fsverity.Algorithm, layers int) Digests {
	t.Helper()
	d := Digests{
		Algorithm: alg,
		Manifest:  sum(t, alg, "manifest"),
		Config:    sum(t, alg, "config"),
		Merged:    sum(t, alg, "merged"),
		Bootable:  sum(t, alg, "bootable"),
	}
	for i := range layers {
		d.Layers = append(d.Layers, sum(t, alg, "layer "+string(rune('0'+i))))
	}
	return d
}

// golden is the signer whose signatures never change: an RSA key in testdata, used for nothing else.
func golden(t testing.TB) *Signer {
	t.Helper()
	// The mode of a checked-out file is whatever git makes it.
	s, err := LoadSigner("testdata/golden.key", "testdata/golden.pem", LoadOptions{SignerOptions: SignerOptions{Now: atNow}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// program returns a command of another implementation.
func program(t testing.TB, name string) func(args ...string) ([]byte, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testenv.Missing(t, name, "the program "+name+" is not installed")
	}
	return func(args ...string) ([]byte, error) { return exec.Command(path, args...).CombinedOutput() }
}

// authoritySigning makes the certificate of an authority that signs other things as well.
func authoritySigning(c *x509.Certificate) {
	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
}
