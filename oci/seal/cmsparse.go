package seal

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// What a signature may have at most.
const (
	maxSigners      = 8
	maxCertificates = 16
)

// signedData is a parsed signature.
type signedData struct {
	certificates []*x509.Certificate
	signers      []signerInfo
}

// signerInfo is one signer's part of it.
type signerInfo struct {
	issuer     []byte // the certificate's issuer and serial number
	serial     *big.Int
	keyID      []byte // or, instead, its subject key identifier
	hash       crypto.Hash
	algorithm  asn1.ObjectIdentifier
	attributes []byte // signed attributes, as a SET OF; nil if there are none
	signature  []byte
}

// names says whether the signer is the owner of the certificate.
func (s *signerInfo) names(cert *x509.Certificate) bool {
	if s.keyID != nil {
		return bytes.Equal(s.keyID, cert.SubjectKeyId)
	}
	return bytes.Equal(s.issuer, cert.RawIssuer) && s.serial.Cmp(cert.SerialNumber) == 0
}

// elements reads DER one element after the other. The first fault stays.
type elements struct {
	rest []byte
	err  error
}

// peek says whether the next element is the field with this tag.
func (e *elements) peek(tag int) bool {
	var v asn1.RawValue
	if e.err != nil || len(e.rest) == 0 {
		return false
	}
	_, err := asn1.Unmarshal(e.rest, &v)
	return err == nil && v.Class == tagged && v.Tag == tag
}

// next returns the next element, which must have this tag.
func (e *elements) next(what string, class, tag int) asn1.RawValue {
	var v asn1.RawValue
	if e.err != nil {
		return v
	}
	rest, err := asn1.Unmarshal(e.rest, &v)
	compound := tag == asn1.TagSequence || tag == asn1.TagSet
	switch {
	case err != nil:
		e.err = fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
	case v.Class != class || v.Tag != tag:
		e.err = fmt.Errorf("%w: %s: class %d tag %d, not %d and %d", ErrMalformed, what, v.Class, v.Tag, class, tag)
	case class == universal && v.IsCompound != compound:
		e.err = fmt.Errorf("%w: %s: not in DER", ErrMalformed, what)
	}
	if e.err != nil {
		return asn1.RawValue{}
	}
	e.rest = rest
	return v
}

// into returns the elements of the next element.
func (e *elements) into(what string, class, tag int) *elements {
	v := e.next(what, class, tag)
	if e.err == nil && !v.IsCompound {
		e.err = fmt.Errorf("%w: %s: not constructed", ErrMalformed, what)
	}
	return &elements{rest: v.Bytes, err: e.err}
}

// decode reads the next element into v.
func (e *elements) decode(what string, v any) {
	if e.err != nil {
		return
	}
	rest, err := asn1.Unmarshal(e.rest, v)
	if err != nil {
		e.err = fmt.Errorf("%w: %s: %w", ErrMalformed, what, err)
		return
	}
	e.rest = rest
}

// end refuses anything more.
func (e *elements) end(what string) error {
	if e.err == nil && len(e.rest) > 0 {
		e.err = fmt.Errorf("%w: %d bytes after the %s", ErrMalformed, len(e.rest), what)
	}
	return e.err
}

// oid reads the next element as an object identifier.
func (e *elements) oid(what string) asn1.ObjectIdentifier {
	var id asn1.ObjectIdentifier
	e.decode(what, &id)
	return id
}

const (
	universal = asn1.ClassUniversal
	tagged    = asn1.ClassContextSpecific
)

// parseSigned reads a signature. It takes what [encodeSigned] writes and what openssl does: detached
// SignedData of one or more signers, with or without certificates and attributes.
func parseSigned(der []byte) (*signedData, error) {
	if len(der) > MaxSignature {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(der), MaxSignature)
	}
	all := &elements{rest: der}
	message := all.into("message", universal, asn1.TagSequence)
	if err := all.end("signature"); err != nil {
		return nil, err
	}
	if id := message.oid("type"); message.err == nil && !id.Equal(oidSignedData) {
		return nil, fmt.Errorf("%w: type %v is not SignedData", ErrMalformed, id)
	}
	explicit := message.into("content", tagged, 0)
	if err := message.end("content"); err != nil {
		return nil, err
	}
	data := explicit.into("SignedData", universal, asn1.TagSequence)
	if err := explicit.end("SignedData"); err != nil {
		return nil, err
	}
	return parseSignedData(data)
}

func parseSignedData(data *elements) (*signedData, error) {
	var version int
	data.decode("version", &version)
	if data.err == nil && version != 1 && version != 3 {
		return nil, fmt.Errorf("%w: SignedData of version %d", ErrMalformed, version)
	}
	data.next("digest algorithms", universal, asn1.TagSet)
	content := data.into("signed content", universal, asn1.TagSequence)
	if id := content.oid("type of signed content"); content.err == nil && !id.Equal(oidData) {
		return nil, fmt.Errorf("%w: what is signed is %v, not data", ErrMalformed, id)
	}
	if content.err == nil && len(content.rest) > 0 {
		return nil, fmt.Errorf("%w: signature is not detached", ErrMalformed)
	}
	if content.err != nil {
		return nil, content.err
	}
	out := &signedData{}
	if data.peek(0) {
		certificates := data.into("certificates", tagged, 0)
		for certificates.err == nil && len(certificates.rest) > 0 {
			if len(out.certificates) == maxCertificates {
				return nil, fmt.Errorf("%w: more than %d certificates", ErrTooLarge, maxCertificates)
			}
			v := certificates.next("certificate", universal, asn1.TagSequence)
			if certificates.err != nil {
				break
			}
			cert, err := x509.ParseCertificate(v.FullBytes)
			if err != nil {
				return nil, fmt.Errorf("%w: certificate %d: %w", ErrMalformed, len(out.certificates), err)
			}
			out.certificates = append(out.certificates, cert)
		}
		if certificates.err != nil {
			return nil, certificates.err
		}
	}
	if data.peek(1) {
		data.next("revocation lists", tagged, 1) // nobody asks for them
	}
	signers := data.into("signers", universal, asn1.TagSet)
	if err := data.end("signers"); err != nil {
		return nil, err
	}
	for len(signers.rest) > 0 {
		if len(out.signers) == maxSigners {
			return nil, fmt.Errorf("%w: more than %d signers", ErrTooLarge, maxSigners)
		}
		s, err := parseSigner(signers.into("signer", universal, asn1.TagSequence), version)
		if err != nil {
			return nil, fmt.Errorf("signer %d: %w", len(out.signers), err)
		}
		out.signers = append(out.signers, *s)
	}
	if signers.err != nil {
		return nil, signers.err
	}
	if len(out.signers) == 0 {
		return nil, fmt.Errorf("%w: no signer", ErrMalformed)
	}
	return out, nil
}

// parseSigner reads one signer of SignedData of some version. As for the kernel, in version 1 signers are
// named by issuer and serial number, in version 3 by key identifier, and never both in one.
func parseSigner(e *elements, of int) (*signerInfo, error) {
	var s signerInfo
	var version int
	e.decode("version", &version)
	if e.err == nil && version != of {
		return nil, fmt.Errorf("%w: version %d in SignedData of version %d", ErrMalformed, version, of)
	}
	if version == 3 {
		s.keyID = e.next("key identifier", tagged, 0).Bytes
		if len(s.keyID) == 0 {
			return nil, fmt.Errorf("%w: empty key identifier", ErrMalformed)
		}
	} else {
		id := e.into("issuer and serial number", universal, asn1.TagSequence)
		s.issuer = id.next("issuer", universal, asn1.TagSequence).FullBytes
		id.decode("serial number", &s.serial)
		if err := id.end("serial number"); err != nil {
			return nil, err
		}
	}
	digest := e.into("digest algorithm", universal, asn1.TagSequence)
	if id := digest.oid("digest algorithm"); digest.err == nil {
		for i := range schemes {
			if schemes[i].digest.Equal(id) {
				s.hash = schemes[i].hash
			}
		}
		if s.hash == 0 {
			return nil, fmt.Errorf("%w: digest algorithm %v", ErrMalformed, id)
		}
	}
	if e.peek(0) {
		// What is signed is the attributes' encoding as a SET, not as the tagged field that they are.
		v := e.next("attributes", tagged, 0)
		if !v.IsCompound {
			return nil, fmt.Errorf("%w: attributes: not constructed", ErrMalformed)
		}
		s.attributes = bytes.Clone(v.FullBytes)
		s.attributes[0] = asn1.TagSet | 0x20
	}
	algorithm := e.into("signature algorithm", universal, asn1.TagSequence)
	s.algorithm = algorithm.oid("signature algorithm")
	s.signature = e.next("signature", universal, asn1.TagOctetString).Bytes
	if e.peek(1) {
		e.next("unsigned attributes", tagged, 1) // as they are not signed, they say nothing
	}
	for _, inner := range []*elements{digest, algorithm} {
		if inner.err != nil {
			return nil, inner.err
		}
	}
	return &s, e.end("signer")
}

// signedAttribute returns the one value of an attribute, which must be there once.
func (s *signerInfo) signedAttribute(id asn1.ObjectIdentifier, v any) error {
	all := &elements{rest: s.attributes}
	attributes := all.into("attributes", universal, asn1.TagSet)
	found := false
	for attributes.err == nil && len(attributes.rest) > 0 {
		attribute := attributes.into("attribute", universal, asn1.TagSequence)
		name := attribute.oid("attribute's type")
		values := attribute.into("attribute's values", universal, asn1.TagSet)
		if err := attribute.end("attribute"); err != nil {
			return err
		}
		if !name.Equal(id) {
			continue
		}
		if found {
			return fmt.Errorf("%w: attribute %v", ErrDuplicate, id)
		}
		found = true
		values.decode("attribute's value", v)
		if err := values.end("attribute's value"); err != nil {
			return err
		}
	}
	if attributes.err == nil && !found {
		return fmt.Errorf("%w: no attribute %v", ErrMalformed, id)
	}
	return attributes.err
}
