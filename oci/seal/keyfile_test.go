package seal

import (
	"crypto/elliptic"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

func TestKeysThatOpensslMakesAreRead(t *testing.T) {
	openssl := program(t, "openssl")
	run := func(args ...string) {
		t.Helper()
		if out, err := openssl(args...); err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", file("rsa"))
	run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file("ec"))
	run("rsa", "-in", file("rsa"), "-traditional", "-out", file("rsa pkcs1"))
	run("ec", "-in", file("ec"), "-out", file("ec sec1"))
	run("pkcs8", "-topk8", "-nocrypt", "-in", file("ec"), "-outform", "DER", "-out", file("ec der"))
	run("ecparam", "-genkey", "-name", "prime256v1", "-out", file("ec with parameters"))
	for _, c := range []string{"aes-128-cbc", "aes-192-cbc", "aes-256-cbc"} {
		run("pkcs8", "-topk8", "-in", file("rsa"), "-v2", c, "-passout", "pass:secret", "-out", file("rsa "+c))
	}
	for _, prf := range []string{"hmacWithSHA1", "hmacWithSHA256", "hmacWithSHA384", "hmacWithSHA512"} {
		run("pkcs8", "-topk8", "-in", file("ec"), "-v2", "aes-256-cbc", "-v2prf", prf, "-iter", "1000", "-passout", "pass:secret", "-out", file("ec "+prf))
	}
	run("pkcs8", "-topk8", "-in", file("ec"), "-scrypt", "-passout", "pass:secret", "-out", file("ec scrypt"))
	run("pkcs8", "-topk8", "-in", file("ec"), "-v2", "des3", "-passout", "pass:secret", "-out", file("ec des3"))
	run("ec", "-in", file("ec"), "-aes256", "-passout", "pass:secret", "-out", file("ec old encryption"))
	run("genpkey", "-algorithm", "X25519", "-out", file("x25519"))
	run("req", "-x509", "-key", file("ec"), "-subj", "/CN=x", "-out", file("certificate"))

	secret := func(word string) func() ([]byte, error) {
		return func() ([]byte, error) { return []byte(word), nil }
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string]string{ // the words of the reason
		"ec scrypt": "openssl pkcs8", "ec des3": "openssl pkcs8", "ec old encryption": "openssl pkcs8", "x25519": "does not sign", "certificate": "no PEM block",
	}
	for _, e := range entries {
		data := readFile(t, file(e.Name()))
		if words, ok := broken[e.Name()]; ok {
			if _, err := ParsePrivateKey(data, secret("secret")); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: error %v, want %v with %q", e.Name(), err, ErrKey, words)
			}
			continue
		}
		key, err := ParsePrivateKey(data, secret("secret"))
		if err != nil {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		p := certify(t, e.Name(), key, nil)
		d := sum(t, fsverity.SHA256, e.Name())
		if _, err := (&Verifier{Trust: NewTrust(p.cert), Now: atNow}).Check(d, p.sign(t, d)); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
		if !strings.Contains(string(data), "ENCRYPTED") {
			continue
		}
		if _, err := ParsePrivateKey(data, nil); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s without a passphrase: %v, want %v", e.Name(), err, ErrPassphrase)
		}
		refused := errors.New("no terminal")
		if _, err := ParsePrivateKey(data, func() ([]byte, error) { return nil, refused }); !errors.Is(err, ErrPassphrase) || !errors.Is(err, refused) {
			t.Errorf("%s without a terminal: %v", e.Name(), err)
		}
		// Some wrong passphrases leave right padding.
		for i := range 3 {
			if _, err := ParsePrivateKey(data, secret("wrong"+string(rune('0'+i)))); !errors.Is(err, ErrPassphrase) && !errors.Is(err, ErrKey) {
				t.Errorf("%s with a wrong passphrase: %v, want %v", e.Name(), err, ErrPassphrase)
			}
		}
	}
}

func TestSignerFromFiles(t *testing.T) {
	p := newPair(t, "signer")
	cert, key := p.write(t)
	both := temp(t, append(readFile(t, cert), readFile(t, key)...))
	der := temp(t, p.cert.Raw)
	opts := LoadOptions{SignerOptions: SignerOptions{Now: atNow}}
	for _, files := range [][2]string{{key, cert}, {both, both}, {key, der}} {
		s, err := LoadSigner(files[0], files[1], opts)
		if err != nil {
			t.Errorf("%v: %v", files, err)
		} else if got := s.Identity().Subject; got != "CN=signer" {
			t.Errorf("%v: signer %s", files, got)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	otherCert, _ := newPair(t, "other").write(t)
	for name, test := range map[string]struct {
		key, cert string
		want      error
	}{
		"no key":                 {missing, cert, fs.ErrNotExist},
		"no certificate":         {key, missing, fs.ErrNotExist},
		"certificate as key":     {cert, cert, ErrKey},
		"key as certificate":     {key, key, ErrKey},
		"another's certificate":  {key, otherCert, ErrKey},
		"garbage as certificate": {key, temp(t, []byte("x")), ErrKey},
		"garbage in PEM":         {key, temp(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), ErrKey},
		"huge file":              {key, temp(t, make([]byte, maxKeyFile+1)), ErrTooLarge},
		"endless file":           {"/dev/zero", cert, ErrTooLarge},
		"garbage as key":         {temp(t, []byte("x")), cert, ErrKey},
	} {
		if _, err := LoadSigner(test.key, test.cert, opts); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
}

func TestKeyThatOthersCanReadIsHintedAt(t *testing.T) {
	cert, key := certify(t, "signer", newECDSA(t, elliptic.P256()), nil).write(t)
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o640, 0o644} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		var hints []string
		_, err := LoadSigner(key, cert, LoadOptions{SignerOptions: SignerOptions{Now: atNow}, Warn: func(hint string) { hints = append(hints, hint) }})
		if err != nil {
			t.Fatal(err)
		}
		if (len(hints) > 0) != (mode&0o077 != 0) {
			t.Errorf("mode %04o: hints %q", mode, hints)
		}
		for _, hint := range hints {
			if !strings.Contains(hint, "chmod 600 "+key) {
				t.Errorf("hint %q does not say what to do", hint)
			}
		}
	}
}
