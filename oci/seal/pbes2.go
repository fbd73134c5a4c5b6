package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"hash"
)

// maxIterations is how often PBKDF2 may hash: a file that says more would keep the reader for minutes.
const maxIterations = 10_000_000

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// pseudoRandom are the functions by which PBKDF2 may hash; the first is meant where none is named.
var pseudoRandom = []struct {
	id   asn1.ObjectIdentifier
	hash func() hash.Hash
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}, sha1.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, sha256.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}, sha512.New384},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}, sha512.New},
}

// ciphers are AES in CBC mode, by the size of the key in bytes.
var ciphers = []struct {
	id  asn1.ObjectIdentifier
	key int
}{
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}, 16},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}, 24},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, 32},
}

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5208) by PBES2 (RFC 8018).
type encryptedKey struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	Data []byte
}

type pbes2Parameters struct {
	Derivation struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	Encryption struct {
		ID asn1.ObjectIdentifier
		IV asn1.RawValue `asn1:"optional"`
	}
}

type pbkdf2Parameters struct {
	Salt       []byte
	Iterations int
	KeyLength  int                 `asn1:"optional"`
	Function   algorithmIdentifier `asn1:"optional"`
}

// decryptPKCS8 returns the PKCS#8 key in an encrypted one.
func decryptPKCS8(der []byte, passphrase func() ([]byte, error)) ([]byte, error) {
	var outer encryptedKey
	if err := unmarshalAll(der, &outer); err != nil {
		return nil, err
	}
	if !outer.Algorithm.ID.Equal(oidPBES2) {
		return nil, unknownEncryption(outer.Algorithm.ID)
	}
	var scheme pbes2Parameters
	if err := unmarshalAll(outer.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, err
	}
	if !scheme.Derivation.ID.Equal(oidPBKDF2) {
		return nil, unknownEncryption(scheme.Derivation.ID)
	}
	var derivation pbkdf2Parameters
	if err := unmarshalAll(scheme.Derivation.Parameters.FullBytes, &derivation); err != nil {
		return nil, err
	}
	function := pseudoRandom[0].hash
	if id := derivation.Function.Algorithm; id != nil {
		function = nil
		for _, f := range pseudoRandom {
			if f.id.Equal(id) {
				function = f.hash
			}
		}
		if function == nil {
			return nil, unknownEncryption(id)
		}
	}
	size := 0
	for _, c := range ciphers {
		if c.id.Equal(scheme.Encryption.ID) {
			size = c.key
		}
	}
	iv := scheme.Encryption.IV.Bytes
	switch {
	case size == 0:
		return nil, unknownEncryption(scheme.Encryption.ID)
	case len(iv) != aes.BlockSize || len(outer.Data) == 0 || len(outer.Data)%aes.BlockSize != 0:
		return nil, fmt.Errorf("%w: encrypted data of %d bytes, vector of %d", ErrKey, len(outer.Data), len(iv))
	case derivation.Iterations < 1 || derivation.Iterations > maxIterations:
		return nil, fmt.Errorf("%w: %d iterations, not of 1 to %d", ErrKey, derivation.Iterations, maxIterations)
	}
	if passphrase == nil {
		return nil, fmt.Errorf("%w: the key is encrypted", ErrPassphrase)
	}
	word, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	key, err := pbkdf2.Key(function, string(word), derivation.Salt, derivation.Iterations, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	plain := make([]byte, len(outer.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, outer.Data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, ErrPassphrase
	}
	plain = plain[:len(plain)-pad]
	// One of 256 wrong passphrases leaves padding that looks right.
	if err := unmarshalAll(plain, &asn1.RawValue{}); err != nil {
		return nil, ErrPassphrase
	}
	return plain, nil
}

func unknownEncryption(id asn1.ObjectIdentifier) error {
	return fmt.Errorf("%w: encrypted by %v; convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc", ErrKey, id)
}

func unmarshalAll(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes more", len(rest))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	return nil
}
