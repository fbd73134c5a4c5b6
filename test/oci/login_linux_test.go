package oci

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate makes a directory with a certificate for this machine, that of its authority, and its key.
func certificate(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.crt": {Type: "CERTIFICATE", Bytes: der}, "server.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRegistryWithPasswordAndTLS(t *testing.T) {
	layout := debianLayout(t)
	certs := certificate(t)
	passwords := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(passwords, []byte(run(t, "htpasswd", "-Bbn", "user", "secret")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := startRegistry(t, "https", "  tls: {certificate: "+certs+"/ca.crt, key: "+certs+"/server.pem}\nauth: {htpasswd: {realm: test, path: "+passwords+"}}\n")
	auth := filepath.Join(t.TempDir(), "auth.json")
	u := newUser(t)
	u.run("pull", "oci:"+layout+":debian", "debian")
	t.Setenv("REGISTRY_AUTH_FILE", auth)
	u.fails(1, "`podman login`", "push", "--cert-dir", certs, "debian", reg.host+"/debian:1")
	u.fails(1, "certificate", "push", "debian", reg.host+"/debian:1")
	run(t, "skopeo", "login", "--cert-dir", certs, "--username", "user", "--password", "secret", reg.host)
	u.run("push", "--cert-dir", certs, "debian", reg.host+"/debian:1")
	other := newUser(t)
	other.run("pull", "--cert-dir", certs, reg.host+"/debian:1", "debian")
	run(t, "skopeo", "inspect", "--cert-dir", certs, "docker://"+reg.host+"/debian:1")
}
