package seal

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxKeyFile is the size in bytes up to which files of keys and certificates are read.
const maxKeyFile = 1 << 20

// ParsePrivateKey reads a private key in PEM or DER: PKCS#8, PKCS#1 (RSA) or SEC 1 (ECDSA). passphrase is asked
// for if the key is encrypted, in PKCS#8 by PBES2 with PBKDF2 and AES, which is what openssl makes; it may
// be nil. Errors are [ErrKey] and [ErrPassphrase].
func ParsePrivateKey(data []byte, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	key, err := parsePrivateKey(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return key, nil
}

func parsePrivateKey(data []byte, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		return parsePKCS8(data)
	}
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("%w: no PEM block of a private key", ErrKey)
		}
		if block.Headers["DEK-Info"] != "" {
			return nil, fmt.Errorf("%w: encrypted in the old way, which is weak; convert it with openssl pkcs8 -topk8", ErrKey)
		}
		switch block.Type {
		case "PRIVATE KEY":
			return parsePKCS8(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			der, err := decryptPKCS8(block.Bytes, passphrase)
			if err != nil {
				return nil, err
			}
			return parsePKCS8(der)
		case "RSA PRIVATE KEY":
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrKey, err)
			}
			return key, nil
		case "EC PRIVATE KEY":
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrKey, err)
			}
			return key, nil
		}
	}
}

func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a %T does not sign", ErrKey, key)
	}
	return signer, nil
}

// LoadOptions say how [LoadSigner] reads files.
type LoadOptions struct {
	SignerOptions
	// Passphrase is asked for if the key is encrypted.
	Passphrase func() ([]byte, error)
	// Warn is told of what is unwise but possible, such as a key that others can read. May be nil.
	Warn func(hint string)
}

// LoadSigner returns a signer by the key and certificates in two files, which may be the same one. The
// certificates are the signer's own and, after it, those that lead to an authority.
func LoadSigner(keyFile, certFile string, opts LoadOptions) (*Signer, error) {
	data, mode, err := readSmall(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if mode.Perm()&0o077 != 0 && opts.Warn != nil {
		opts.Warn(fmt.Sprintf("others can read the key %s (mode %04o); chmod 600 %[1]s", keyFile, mode.Perm()))
	}
	key, err := ParsePrivateKey(data, opts.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	chain, err := LoadCertificates(certFile)
	if err != nil {
		return nil, err
	}
	s, err := NewSigner(key, chain, opts.SignerOptions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return s, nil
}

// LoadCertificates reads the certificates in a file, in PEM or one in DER.
func LoadCertificates(file string) ([]*x509.Certificate, error) {
	data, _, err := readSmall(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	certificates, err := ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return certificates, nil
}

func readSmall(file string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, 0, err
	}
	if len(data) > maxKeyFile {
		return nil, 0, fmt.Errorf("%s: %w: more than %d bytes", file, ErrTooLarge, maxKeyFile)
	}
	return data, info.Mode(), nil
}
