package seal

import (
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"testing"

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
