package seal

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// Verifier checks signatures. It must not be changed while it is used.
type Verifier struct {
	// Trust is whose signatures count. Nil trusts nobody.
	Trust *Trust
	// Now tells the time at which certificates must be valid; [time.Now] if nil. When a signature was
	// made is not known: nobody but the signer has said it.
	Now func() time.Time
	// Accept may refuse a signer who is trusted, with an error that says why. May be nil.
	Accept func(*Identity) error
}

// Check says who has signed a digest. The signature must be of this digest ([ErrWrongDigest]), by
// somebody trusted ([ErrUntrusted]) whose certificate is valid now ([ErrExpired]); an empty signature is
// [ErrMissing]. If it has several signers, each whose certificate is at hand must have signed this
// digest, as for the kernel, and one must be trusted.
func (v *Verifier) Check(d fsverity.Digest, signature []byte) (*Identity, error) {
	if len(signature) == 0 {
		return nil, fmt.Errorf("check signature: %w", ErrMissing)
	}
	parsed, err := parseSigned(signature)
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	id, err := v.check(fsverity.FormattedDigest(d), parsed)
	if err != nil {
		return nil, fmt.Errorf("check signature: %w", err)
	}
	return id, nil
}

func (v *Verifier) check(message []byte, parsed *signedData) (*Identity, error) {
	trust := v.Trust
	if trust == nil {
		trust = NewTrust()
	}
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	var trusted *Identity
	var refused error // why the first one who is not trusted is not
	for i := range parsed.signers {
		s := &parsed.signers[i]
		cert, err := s.find(message, trust.certificates, parsed.certificates)
		if err != nil {
			return nil, err
		}
		if cert == nil {
			err = fmt.Errorf("%w: none of the certificates is the signer's, nor does the signature bring it", ErrUntrusted)
		} else {
			err = trust.check(cert, parsed.certificates, now())
		}
		if err == nil && v.Accept != nil {
			if reason := v.Accept(identityOf(cert)); reason != nil {
				err = fmt.Errorf("%w: %w", ErrUntrusted, reason)
			}
		}
		switch {
		case err != nil && refused == nil:
			refused = err
		case err == nil && trusted == nil:
			trusted = identityOf(cert)
		}
	}
	if trusted == nil {
		return nil, refused
	}
	return trusted, nil
}

// find returns the certificate by which the signature is right: one that is trusted, or else the first of
// those brought along that the signer names; nil if there is none that it names.
func (s *signerInfo) find(message []byte, trusted, brought []*x509.Certificate) (*x509.Certificate, error) {
	candidates := slices.Clone(trusted)
	// Of many with the same name each would take its time to compute.
	if at := slices.IndexFunc(brought, s.names); at >= 0 {
		candidates = append(candidates, brought[at])
	}
	var wrong error
	for _, cert := range candidates {
		if !s.names(cert) {
			continue
		}
		err := s.verify(message, cert)
		if err == nil {
			return cert, nil
		}
		wrong = err
	}
	return nil, wrong
}

// verify says whether the owner of cert has signed the message.
func (s *signerInfo) verify(message []byte, cert *x509.Certificate) error {
	algorithm, err := signatureAlgorithm(s.hash, s.algorithm, cert.PublicKey)
	if err != nil {
		return err
	}
	signed := message
	if s.attributes != nil {
		var contentType asn1.ObjectIdentifier
		var sum []byte
		if err := s.signedAttribute(oidContentType, &contentType); err != nil {
			return err
		}
		if err := s.signedAttribute(oidMessageDigest, &sum); err != nil {
			return err
		}
		if !contentType.Equal(oidData) {
			return fmt.Errorf("%w: attributes are of %v, not of data", ErrMalformed, contentType)
		}
		h := s.hash.New()
		h.Write(message)
		if !bytes.Equal(h.Sum(nil), sum) {
			return fmt.Errorf("%w: %q has signed another one", ErrWrongDigest, cert.Subject)
		}
		signed = s.attributes
	}
	if err := cert.CheckSignature(algorithm, signed, s.signature); err != nil {
		return fmt.Errorf("%w: not signed by %q: %w", ErrWrongDigest, cert.Subject, err)
	}
	return nil
}
