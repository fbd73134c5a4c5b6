package seal

import (
	"bytes"
	"crypto/elliptic"
	"encoding/pem"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

// kinds are the keys that can sign.
func kinds(t *testing.T) map[string]pair {
	t.Helper()
	return map[string]pair{
		"rsa2048": certify(t, "rsa2048", newRSA(t, 2048), nil),
		"rsa3072": certify(t, "rsa3072", newRSA(t, 3072), nil),
		"p256":    certify(t, "p256", newECDSA(t, elliptic.P256()), nil),
		"p384":    certify(t, "p384", newECDSA(t, elliptic.P384()), nil),
		"p521":    certify(t, "p521", newECDSA(t, elliptic.P521()), nil),
	}
}

func TestOpensslVerifiesOurSignatures(t *testing.T) {
	openssl := program(t, "openssl")
	for name, p := range kinds(t) {
		for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
			for _, bare := range []bool{false, true} {
				t.Run(name+" "+alg.Hash.String()+map[bool]string{true: " bare", false: ""}[bare], func(t *testing.T) {
					d := sum(t, alg, t.Name())
					cert, _ := p.write(t)
					signature := temp(t, mustSign(t, p.signer(t, SignerOptions{Bare: bare}), d))
					content := temp(t, fsverity.FormattedDigest(d))
					other := temp(t, fsverity.FormattedDigest(sum(t, alg, "other")))
					for _, command := range []string{"cms", "smime"} {
						args := func(content string) []string {
							args := []string{command, "-verify", "-binary", "-inform", "DER", "-in", signature, "-content", content, "-certfile", cert, "-noverify", "-out", "/dev/null"}
							if bare {
								args = append(args, "-nointern")
							}
							return args
						}
						if out, err := openssl(args(content)...); err != nil {
							t.Errorf("openssl %s: %v\n%s", command, err, out)
						}
						if out, err := openssl(args(other)...); err == nil {
							t.Errorf("openssl %s takes it for the signature of another digest\n%s", command, out)
						}
					}
					pemSignature := temp(t, pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: readFile(t, signature)}))
					if out, err := openssl("pkcs7", "-in", pemSignature, "-noout", "-print_certs"); err != nil {
						t.Errorf("openssl pkcs7: %v\n%s", err, out)
					}
				})
			}
		}
	}
}

func TestOpensslVerifiesAChainToAnAuthority(t *testing.T) {
	openssl := program(t, "openssl")
	root := newPair(t, "root", authority)
	middle := certify(t, "middle", newECDSA(t, elliptic.P384()), &root, authority)
	leaf := certify(t, "leaf", newRSA(t, 2048), &middle)
	d := sum(t, fsverity.SHA512, t.Name())
	signature := temp(t, mustSign(t, leaf.signer(t, SignerOptions{}, middle, root), d))
	rootFile, _ := root.write(t)
	out, err := openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", signature,
		"-content", temp(t, fsverity.FormattedDigest(d)), "-CAfile", rootFile, "-purpose", "any",
		"-attime", "1803902400", "-out", "/dev/null") // 2027-03-01
	if err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
}

func TestWeVerifyOpensslSignatures(t *testing.T) {
	openssl := program(t, "openssl")
	flags := map[string][]string{
		"smime as fsverity.rst has it": {"smime", "-noattr"},
		"smime with attributes":        {"smime"},
		"smime without certificates":   {"smime", "-noattr", "-nocerts"},
		"cms":                          {"cms", "-noattr"},
		"cms with attributes":          {"cms"},
		"cms by key identifier":        {"cms", "-keyid", "-noattr"},
		"cms with capabilities left":   {"cms", "-nosmimecap"},
		"SHA-512 over it":              {"cms", "-md", "sha512"},
	}
	for name, p := range kinds(t) {
		for flagName, args := range flags {
			t.Run(name+" "+flagName, func(t *testing.T) {
				p, d := p, sum(t, fsverity.SHA256, t.Name())
				if flagName == "cms by key identifier" {
					p = certify(t, "with key identifier", p.key, nil, authoritySigning)
				}
				cert, key := p.write(t)
				out := filepath.Join(t.TempDir(), "signature")
				args := append(args[:len(args):len(args)], "-sign", "-binary", "-in", temp(t, fsverity.FormattedDigest(d)),
					"-signer", cert, "-inkey", key, "-outform", "DER", "-out", out)
				if message, err := openssl(args...); err != nil {
					t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, message)
				}
				v := Verifier{Trust: NewTrust(p.cert), Now: atNow}
				if _, err := v.Check(d, readFile(t, out)); err != nil {
					t.Errorf("check: %v", err)
				}
				if _, err := v.Check(sum(t, fsverity.SHA256, "other"), readFile(t, out)); !errors.Is(err, ErrWrongDigest) {
					t.Errorf("check with another digest: %v, want %v", err, ErrWrongDigest)
				}
			})
		}
	}
}

func TestOpensslSignatureThatIsNotDetachedIsRefused(t *testing.T) {
	openssl := program(t, "openssl")
	p := newPair(t, "signer")
	cert, key := p.write(t)
	d := sum(t, fsverity.SHA256, t.Name())
	out := filepath.Join(t.TempDir(), "signature")
	message, err := openssl("smime", "-sign", "-nodetach", "-binary", "-in", temp(t, fsverity.FormattedDigest(d)),
		"-signer", cert, "-inkey", key, "-outform", "DER", "-out", out)
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, message)
	}
	v := Verifier{Trust: NewTrust(p.cert), Now: atNow}
	if _, err := v.Check(d, readFile(t, out)); !errors.Is(err, ErrMalformed) {
		t.Errorf("check: %v, want %v", err, ErrMalformed)
	}
}

func TestWeAndTheProgramFsverityMakeTheSameSignature(t *testing.T) {
	fsverityProgram := program(t, "fsverity")
	p := certify(t, "signer", newRSA(t, 2048), nil)
	cert, key := p.write(t)
	file := temp(t, bytes.Repeat([]byte("composefs "), 4000))
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512} {
		t.Run(alg.Hash.String(), func(t *testing.T) {
			d, err := fsverity.Sum(alg, readFile(t, file))
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "signature")
			message, err := fsverityProgram("sign", file, out, "--key="+key, "--cert="+cert, "--hash-alg="+alg.Hash.String())
			if err != nil {
				t.Fatalf("fsverity sign: %v\n%s", err, message)
			}
			theirs := readFile(t, out)
			v := Verifier{Trust: NewTrust(p.cert), Now: atNow}
			if _, err := v.Check(d, theirs); err != nil {
				t.Errorf("check theirs: %v", err)
			}
			if ours := mustSign(t, p.signer(t, SignerOptions{Bare: true}), d); !bytes.Equal(ours, theirs) {
				t.Errorf("ours differs from theirs:\n%x\n%x", ours, theirs)
			}
		})
	}
}
