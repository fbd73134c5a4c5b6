package seal

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

func TestOnlyTrustedAndValidSignersCount(t *testing.T) {
	d := sum(t, fsverity.SHA256, "image")
	other := sum(t, fsverity.SHA256, "another image")
	root := newPair(t, "root", authority)
	otherRoot := newPair(t, "root", authority)
	middle := certify(t, "middle", newECDSA(t, elliptic.P384()), &root, authority)
	leaf := certify(t, "leaf", newECDSA(t, elliptic.P256()), &middle)
	key := newECDSA(t, elliptic.P256())
	years := func(from, to int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(from, 0, 0), now.AddDate(to, 0, 0) }
	}
	expired := certify(t, "expired", key, nil, years(-2, -1))
	future := certify(t, "future", key, nil, years(1, 2))
	expiredRoot := newPair(t, "expired root", authority, years(-9, -1))
	byExpired := certify(t, "by expired", newECDSA(t, elliptic.P256()), &expiredRoot)
	certifier := certify(t, "certifier", newRSA(t, 2048), nil, authority)
	server := certify(t, "server", newECDSA(t, elliptic.P256()), &root, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	coder := certify(t, "coder", newECDSA(t, elliptic.P256()), &root, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	})
	noUsage := newPair(t, "no usage", func(c *x509.Certificate) { c.KeyUsage = 0 })
	byLeaf := certify(t, "by leaf", newECDSA(t, elliptic.P256()), &leaf)
	// An impostor's certificate has the names and numbers of the pinned one, and another key.
	impostor := certify(t, "leaf", newECDSA(t, elliptic.P256()), &middle, func(c *x509.Certificate) { c.SerialNumber = leaf.cert.SerialNumber })

	sign := func(p pair, chain ...pair) []byte {
		t.Helper()
		// What a careful signer would refuse to make.
		s := &Signer{key: p.key, chain: []*x509.Certificate{p.cert}}
		for _, c := range chain {
			s.chain = append(s.chain, c.cert)
		}
		return forge(t, s, d)
	}
	bare := func(p pair) []byte {
		return forge(t, &Signer{key: p.key, chain: []*x509.Certificate{p.cert}, opts: SignerOptions{Bare: true}}, d)
	}
	tests := []struct {
		name      string
		trusted   []pair
		signature []byte
		want      error
	}{
		{"pinned", []pair{leaf}, sign(leaf), nil},
		{"pinned, bare signature", []pair{leaf}, bare(leaf), nil},
		{"pinned among others", []pair{root, otherRoot, leaf}, bare(leaf), nil},
		{"by an authority", []pair{root}, sign(leaf, middle), nil},
		{"by an authority, which the signature brings along", []pair{root}, sign(leaf, middle, root), nil},
		{"by an authority in the middle", []pair{middle}, sign(leaf), nil},
		{"for signing code", []pair{root}, sign(coder), nil},
		{"no key usage said", []pair{noUsage}, sign(noUsage), nil},
		{"pinned although it is a server's", []pair{server}, sign(server), nil},

		{"nobody is trusted", nil, sign(leaf, middle, root), ErrUntrusted},
		{"somebody else is pinned", []pair{newPair(t, "x")}, sign(leaf), ErrUntrusted},
		{"bare signature by an authority's", []pair{root}, bare(leaf), ErrUntrusted},
		{"chain is broken", []pair{root}, sign(leaf), ErrUntrusted},
		{"another authority of the same name", []pair{otherRoot}, sign(leaf, middle), ErrUntrusted},
		{"a pinned signer is no authority", []pair{leaf}, sign(byLeaf, leaf), ErrUntrusted},
		{"not for signing code", []pair{root}, sign(server), ErrUntrusted},
		{"only for certifying", []pair{certifier}, sign(certifier), ErrUntrusted},
		{"expired", []pair{expired}, sign(expired), ErrExpired},
		{"not yet valid", []pair{future}, sign(future), ErrExpired},
		{"authority has expired", []pair{expiredRoot}, sign(byExpired), ErrExpired},
		{"impostor of a pinned one", []pair{leaf}, sign(impostor), ErrUntrusted},

		{"of another image", []pair{leaf}, forge(t, &Signer{key: leaf.key, chain: []*x509.Certificate{leaf.cert}}, other), ErrWrongDigest},
		{"by another key than the certificate's", []pair{leaf}, sign(pair{key, leaf.cert}), ErrWrongDigest},
		{"bare, by another key", []pair{leaf}, bare(pair{key, leaf.cert}), ErrWrongDigest},
		{"none", []pair{leaf}, nil, ErrMissing},
		{"text", []pair{leaf}, []byte("signature"), ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			trust := NewTrust()
			for _, p := range test.trusted {
				trust.Add(p.cert)
			}
			v := Verifier{Trust: trust, Now: atNow}
			id, err := v.Check(d, test.signature)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && id.Certificate == nil {
				t.Error("no signer")
			}
		})
	}
}

// forge signs without any of a signer's own checks.
func forge(t *testing.T, s *Signer, d fsverity.Digest) []byte {
	t.Helper()
	scheme := schemes[0]
	h := scheme.hash.New()
	h.Write(fsverity.FormattedDigest(d))
	signature, err := s.key.Sign(nil, h.Sum(nil), scheme.hash)
	if err != nil {
		t.Fatal(err)
	}
	der, err := encodeSigned(scheme.hash, s.chain[0], signature, s.embedded())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestImpostorsCertificateDoesNotHideThePinnedOne(t *testing.T) {
	d := sum(t, fsverity.SHA256, "image")
	owner := newPair(t, "signer")
	impostor := certify(t, "signer", newECDSA(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.SerialNumber = owner.cert.SerialNumber })
	both := &Signer{key: owner.key, chain: []*x509.Certificate{owner.cert, impostor.cert}}
	v := Verifier{Trust: NewTrust(owner.cert), Now: atNow}
	if _, err := v.Check(d, forge(t, both, d)); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestAcceptCanRefuseATrustedSigner(t *testing.T) {
	d := sum(t, fsverity.SHA256, "image")
	p := newPair(t, "signer")
	reason := errors.New("not this one")
	v := Verifier{Trust: NewTrust(p.cert), Now: atNow, Accept: func(id *Identity) error {
		if id.Subject != "CN=signer" {
			t.Errorf("asked about %q", id.Subject)
		}
		return reason
	}}
	if _, err := v.Check(d, p.sign(t, d)); !errors.Is(err, ErrUntrusted) || !errors.Is(err, reason) {
		t.Errorf("check: %v, want %v with %v", err, ErrUntrusted, reason)
	}
}

func TestEachDamagedSignatureIsRefused(t *testing.T) {
	d := sum(t, fsverity.SHA256, "image")
	p := certify(t, "signer", newRSA(t, 2048), nil)
	v := Verifier{Trust: NewTrust(p.cert), Now: atNow}
	for _, bare := range []bool{false, true} {
		good := mustSign(t, p.signer(t, SignerOptions{Bare: bare}), d)
		if _, err := v.Check(d, good); err != nil {
			t.Fatal(err)
		}
		for n := range good {
			if _, err := v.Check(d, good[:n]); !errors.Is(err, ErrMalformed) && n > 0 {
				t.Fatalf("bare %v, cut to %d of %d bytes: %v", bare, n, len(good), err)
			}
		}
		for _, more := range [][]byte{{0}, good, []byte("\n")} {
			if _, err := v.Check(d, slices.Concat(good, more)); !errors.Is(err, ErrMalformed) {
				t.Errorf("bare %v, with %d bytes more: %v", bare, len(more), err)
			}
		}
	}
	// Of a bare signature nearly every bit matters: exceptions are parameters that must be NULL, which
	// some leave out.
	good := mustSign(t, p.signer(t, SignerOptions{Bare: true}), d)
	for at := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[at] ^= 1 << bit
			if _, err := v.Check(d, bad); err == nil && !harmless(good, at) {
				t.Errorf("bit %d of byte %d (%#x) of %d is not looked at", bit, at, good[at], len(good))
			}
		}
	}
}

// harmless says whether a byte is of what a verifier need not read: the list of digest algorithms and the
// parameters of algorithms.
func harmless(der []byte, at int) bool {
	list := asn1Marshal([]algorithmIdentifier{{schemes[0].digest, asn1.NullRawValue}}, "set")
	first := bytes.Index(der, list)
	if at >= first+2 && at < first+len(list) {
		return true
	}
	for _, id := range []asn1.ObjectIdentifier{schemes[0].digest, oidRSA} {
		text := asn1Marshal(algorithmIdentifier{id, asn1.NullRawValue}, "")
		i := bytes.LastIndex(der, text)
		if at >= i+len(text)-2 && at < i+len(text) {
			return true
		}
	}
	return false
}

func asn1Marshal(v any, params string) []byte {
	der, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		panic(err)
	}
	return der
}

// several makes a signature of several signers with ECDSA.
func several(t *testing.T, signed map[*pair]fsverity.Digest, signers ...*pair) []byte {
	t.Helper()
	digest := algorithmIdentifier{schemes[0].digest, asn1.NullRawValue}
	data := outSigned{
		Version:      1,
		Digests:      []algorithmIdentifier{digest},
		Content:      outContent{oidData},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true},
	}
	for _, p := range signers {
		h := schemes[0].hash.New()
		h.Write(fsverity.FormattedDigest(signed[p]))
		signature, err := p.key.Sign(nil, h.Sum(nil), schemes[0].hash)
		if err != nil {
			t.Fatal(err)
		}
		data.Certificates.Bytes = append(data.Certificates.Bytes, p.cert.Raw...)
		data.Signers = append(data.Signers, outSigner{
			1,
			issuerAndSerial{asn1.RawValue{FullBytes: p.cert.RawIssuer}, p.cert.SerialNumber},
			digest,
			algorithmIdentifier{Algorithm: schemes[0].ecdsa},
			signature,
		})
	}
	return asn1Marshal(outMessage{oidSignedData, data}, "")
}

func TestSignaturesOfSeveralSigners(t *testing.T) {
	d, other := sum(t, fsverity.SHA256, "image"), sum(t, fsverity.SHA256, "other")
	first, second := newPair(t, "first"), newPair(t, "second")
	old := newPair(t, "old", func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -1) })
	signed := map[*pair]fsverity.Digest{&first: d, &second: d, &old: d}
	wrong := map[*pair]fsverity.Digest{&first: d, &second: other}
	many := make([]*pair, maxSigners+1)
	for i := range many {
		many[i] = &first
	}
	tests := []struct {
		name      string
		trusted   []pair
		signature []byte
		want      error
		signer    string
	}{
		{"both are trusted", []pair{first, second}, several(t, signed, &first, &second), nil, "CN=first"},
		{"the first is trusted", []pair{first}, several(t, signed, &first, &second), nil, "CN=first"},
		{"the second is trusted", []pair{second}, several(t, signed, &first, &second), nil, "CN=second"},
		{"one has expired", []pair{second, old}, several(t, signed, &old, &second), nil, "CN=second"},
		{"none is trusted", nil, several(t, signed, &first, &second), ErrUntrusted, ""},
		{"the stranger has signed something else", []pair{first}, several(t, wrong, &first, &second), ErrWrongDigest, ""},
		{"the trusted one has signed something else", []pair{second}, several(t, wrong, &first, &second), ErrWrongDigest, ""},
		{"no signer at all", []pair{first}, several(t, signed), ErrMalformed, ""},
		{"too many", []pair{first}, several(t, signed, many...), ErrTooLarge, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			trust := NewTrust()
			for _, p := range test.trusted {
				trust.Add(p.cert)
			}
			id, err := (&Verifier{Trust: trust, Now: atNow}).Check(d, test.signature)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && id.Subject != test.signer {
				t.Errorf("signed by %s, want %s", id.Subject, test.signer)
			}
		})
	}
}

// withAttributes makes a signature with signed attributes, each in DER.
func withAttributes(t *testing.T, p pair, attributes ...[]byte) []byte {
	t.Helper()
	set := asn1Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: slices.Concat(attributes...)}, "")
	h := schemes[0].hash.New()
	h.Write(set)
	signature, err := p.key.Sign(nil, h.Sum(nil), schemes[0].hash)
	if err != nil {
		t.Fatal(err)
	}
	digest := algorithmIdentifier{schemes[0].digest, asn1.NullRawValue}
	type signer struct {
		Version    int
		Signer     issuerAndSerial
		Digest     algorithmIdentifier
		Attributes asn1.RawValue
		Algorithm  algorithmIdentifier
		Signature  []byte
	}
	type data struct {
		Version int
		Digests []algorithmIdentifier `asn1:"set"`
		Content outContent
		Signers []signer `asn1:"set"`
	}
	set[0] = 0xa0
	return asn1Marshal(struct {
		Type asn1.ObjectIdentifier
		Data data `asn1:"explicit,tag:0"`
	}{oidSignedData, data{1, []algorithmIdentifier{digest}, outContent{oidData}, []signer{{
		1,
		issuerAndSerial{asn1.RawValue{FullBytes: p.cert.RawIssuer}, p.cert.SerialNumber},
		digest,
		asn1.RawValue{FullBytes: set},
		algorithmIdentifier{Algorithm: schemes[0].ecdsa},
		signature,
	}}}}, "")
}

func TestAttributesAreOfTheSameDigest(t *testing.T) {
	d := sum(t, fsverity.SHA256, "image")
	p := newPair(t, "signer")
	attribute := func(id asn1.ObjectIdentifier, values ...any) []byte {
		var set []byte
		for _, v := range values {
			set = append(set, asn1Marshal(v, "")...)
		}
		return asn1Marshal(struct {
			ID     asn1.ObjectIdentifier
			Values asn1.RawValue
		}{id, asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: set}}, "")
	}
	message := func(d fsverity.Digest) []byte {
		h := schemes[0].hash.New()
		h.Write(fsverity.FormattedDigest(d))
		return h.Sum(nil)
	}
	kind := attribute(oidContentType, oidData)
	right := attribute(oidMessageDigest, message(d))
	tests := []struct {
		name       string
		attributes [][]byte
		want       error
	}{
		{"right", [][]byte{kind, right}, nil},
		{"of another digest", [][]byte{kind, attribute(oidMessageDigest, message(sum(t, fsverity.SHA256, "x")))}, ErrWrongDigest},
		{"no digest", [][]byte{kind}, ErrMalformed},
		{"no type", [][]byte{right}, ErrMalformed},
		{"another type", [][]byte{attribute(oidContentType, oidSignedData), right}, ErrMalformed},
		{"two digests", [][]byte{kind, right, right}, ErrDuplicate},
		{"two digests in one", [][]byte{kind, attribute(oidMessageDigest, message(d), message(d))}, ErrMalformed},
		{"digest that is a text", [][]byte{kind, attribute(oidMessageDigest, "x")}, ErrMalformed},
		{"none", nil, ErrMalformed},
		{"garbage", [][]byte{kind, right, {0x30, 0x05, 0x01}}, ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := Verifier{Trust: NewTrust(p.cert), Now: atNow}
			if _, err := v.Check(d, withAttributes(t, p, test.attributes...)); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

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
