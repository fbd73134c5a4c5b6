package seal

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// The object identifiers of CMS (RFC 5652), its digests and its signatures.
var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}

	oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// scheme is what a hash is called: alone, and together with RSA and ECDSA.
type scheme struct {
	hash               crypto.Hash
	digest, rsa, ecdsa asn1.ObjectIdentifier
	withRSA, withECDSA x509.SignatureAlgorithm
}

// schemes are the hashes that are accepted. SHA-1 and older ones are not.
var schemes = []scheme{
	{
		crypto.SHA256,
		asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1},
		asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11},
		asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2},
		x509.SHA256WithRSA, x509.ECDSAWithSHA256,
	},
	{
		crypto.SHA384,
		asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2},
		asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12},
		asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3},
		x509.SHA384WithRSA, x509.ECDSAWithSHA384,
	},
	{
		crypto.SHA512,
		asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3},
		asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13},
		asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4},
		x509.SHA512WithRSA, x509.ECDSAWithSHA512,
	},
}

func schemeOf(hash crypto.Hash) *scheme {
	for i := range schemes {
		if schemes[i].hash == hash {
			return &schemes[i]
		}
	}
	return nil
}

// algorithmIdentifier is AlgorithmIdentifier of RFC 5280, with parameters that may be absent.
type algorithmIdentifier struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type outSigner struct {
	Version   int
	Signer    issuerAndSerial
	Digest    algorithmIdentifier
	Algorithm algorithmIdentifier
	Signature []byte
}

type outContent struct {
	Type asn1.ObjectIdentifier
}

type outSigned struct {
	Version      int
	Digests      []algorithmIdentifier `asn1:"set"`
	Content      outContent
	Certificates asn1.RawValue `asn1:"optional"`
	Signers      []outSigner   `asn1:"set"`
}

type outMessage struct {
	Type asn1.ObjectIdentifier
	Data outSigned `asn1:"explicit,tag:0"`
}

// encodeSigned writes a detached SignedData of one signer, without attributes: version 1, so that it is
// PKCS#7 (RFC 2315) as well. The parameters are those that openssl writes.
func encodeSigned(hash crypto.Hash, signer *x509.Certificate, signature []byte, embed []*x509.Certificate) ([]byte, error) {
	s := schemeOf(hash)
	if s == nil {
		return nil, fmt.Errorf("%w: hash %v", ErrKey, hash)
	}
	digest := algorithmIdentifier{s.digest, asn1.NullRawValue}
	var algorithm algorithmIdentifier
	switch signer.PublicKey.(type) {
	case *rsa.PublicKey:
		algorithm = algorithmIdentifier{oidRSA, asn1.NullRawValue}
	case *ecdsa.PublicKey:
		algorithm = algorithmIdentifier{Algorithm: s.ecdsa}
	default:
		return nil, fmt.Errorf("%w: %T", ErrKey, signer.PublicKey)
	}
	data := outSigned{
		Version: 1,
		Digests: []algorithmIdentifier{digest},
		Content: outContent{oidData},
		Signers: []outSigner{{
			Version:   1,
			Signer:    issuerAndSerial{asn1.RawValue{FullBytes: signer.RawIssuer}, signer.SerialNumber},
			Digest:    digest,
			Algorithm: algorithm,
			Signature: signature,
		}},
	}
	if len(embed) > 0 {
		data.Certificates = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true}
		for _, cert := range embed {
			data.Certificates.Bytes = append(data.Certificates.Bytes, cert.Raw...)
		}
	}
	return asn1.Marshal(outMessage{oidSignedData, data})
}

// signatureAlgorithm tells how a signer with this key has signed.
func signatureAlgorithm(hash crypto.Hash, algorithm asn1.ObjectIdentifier, key crypto.PublicKey) (x509.SignatureAlgorithm, error) {
	s := schemeOf(hash)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return 0, fmt.Errorf("%w: RSA key of %d bits", ErrUntrusted, bits)
		}
		if algorithm.Equal(oidRSA) || algorithm.Equal(s.rsa) {
			return s.withRSA, nil
		}
	case *ecdsa.PublicKey:
		if algorithm.Equal(s.ecdsa) {
			return s.withECDSA, nil
		}
	}
	return 0, fmt.Errorf("%w: signature algorithm %v for a %T with %v", ErrMalformed, algorithm, key, hash)
}
