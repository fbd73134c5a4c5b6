package seal

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The sizes of RSA keys that count, in bits: below, they can be broken, above, they only take time.
const (
	minRSA = 2048
	maxRSA = 8192
)

// Trust is the certificates that signatures are checked against. A certificate vouches for itself: who
// has its key may sign. One of an authority vouches also for those it has certified for signing code
// (extended key usage codeSigning, or none at all).
type Trust struct {
	certificates []*x509.Certificate
	authorities  *x509.CertPool
}

// NewTrust returns trust in certificates.
func NewTrust(certificates ...*x509.Certificate) *Trust {
	t := &Trust{authorities: x509.NewCertPool()}
	t.Add(certificates...)
	return t
}

// Add trusts more certificates. It must not be called while signatures are checked.
func (t *Trust) Add(certificates ...*x509.Certificate) {
	for _, cert := range certificates {
		t.certificates = append(t.certificates, cert)
		if cert.BasicConstraintsValid && cert.IsCA {
			t.authorities.AddCert(cert)
		}
	}
}

// ParseCertificates reads one or more certificates, in PEM or one in DER. Other PEM blocks than
// certificates are passed over. It is [ErrKey] if there is none.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		cert, err := x509.ParseCertificate(data)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w: neither PEM nor DER: %w", ErrKey, err)
		}
		return []*x509.Certificate{cert}, nil
	}
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate %d: %w: %w", len(certificates)+1, ErrKey, err)
		}
		certificates = append(certificates, cert)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("read certificate: %w: no PEM block of a certificate", ErrKey)
	}
	return certificates, nil
}

// check says whether the owner of cert is trusted to sign at that time. others may lead to an
// authority.
func (t *Trust) check(cert *x509.Certificate, others []*x509.Certificate, now time.Time) error {
	// What may sign certificates only, or servers' keys, is not what anybody meant to trust here.
	if cert.KeyUsage != 0 && cert.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return fmt.Errorf("%w: the certificate of %q is not for signatures", ErrUntrusted, cert.Subject)
	}
	if err := checkTime(cert, now); err != nil {
		return err
	}
	if slices.ContainsFunc(t.certificates, cert.Equal) {
		return nil
	}
	between := x509.NewCertPool()
	for _, other := range others {
		between.AddCert(other)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:         t.authorities,
		Intermediates: between,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("%w: that of %q, who vouches for %q: %s", ErrExpired, invalid.Cert.Subject, cert.Subject, invalid.Detail)
	}
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrUntrusted, cert.Subject, err)
	}
	return nil
}

func checkTime(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("%w: that of %q begins %s", ErrExpired, cert.Subject, cert.NotBefore.UTC().Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fmt.Errorf("%w: that of %q ended %s", ErrExpired, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// Identity is who has signed, as the certificate says.
type Identity struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`      // hexadecimal
	Fingerprint string    `json:"fingerprint"` // SHA-256 of the certificate, hexadecimal
	NotAfter    time.Time `json:"not_after"`
	Emails      []string  `json:"emails,omitempty"`
	URIs        []string  `json:"uris,omitempty"`
	Names       []string  `json:"names,omitempty"` // DNS names

	Certificate *x509.Certificate `json:"-"`
}

func identityOf(cert *x509.Certificate) *Identity {
	sum := sha256.Sum256(cert.Raw)
	id := &Identity{
		Subject:     cert.Subject.String(),
		Issuer:      cert.Issuer.String(),
		Serial:      fmt.Sprintf("%x", cert.SerialNumber),
		Fingerprint: hex.EncodeToString(sum[:]),
		NotAfter:    cert.NotAfter.UTC(),
		Emails:      cert.EmailAddresses,
		Names:       cert.DNSNames,
		Certificate: cert,
	}
	for _, uri := range cert.URIs {
		id.URIs = append(id.URIs, uri.String())
	}
	return id
}
