package seal

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

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
