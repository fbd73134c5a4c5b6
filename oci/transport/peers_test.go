package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/oci/manifest"
)

// realRegistry starts Debian's docker-registry on loopback, with settings in YAML to add, and waits
// until it answers. It returns HOST:PORT.
func realRegistry(t *testing.T, scheme, auth, tls string) string {
	t.Helper()
	program := testenv.Peer(t, "docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp:\n  addr: %s\n%s%s",
		filepath.Join(dir, "data"), host, tls, auth)
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "serve", path)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("docker-registry:\n%.4000s", output.String())
		}
	})
	for range 200 {
		conn, err := net.Dial("tcp", host)
		if err == nil {
			conn.Close()
			return host
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer at %s://%s:\n%s", scheme, host, output.String())
	return ""
}

// skopeo runs the peer with nothing of the machine's configuration.
func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(testenv.Peer(t, "skopeo"), append([]string{"--policy", policy}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestSkopeoReadsWhatWeWrite(t *testing.T) {
	host := realRegistry(t, "http", "", "")
	for name, i := range map[string]image{"oci": makeImage(t, 5, 200_000), "docker": makeDockerImage(t, 6, 200_000)} {
		for transport, ref := range map[string]string{
			"registry": "docker://" + host + "/our/" + name + ":v1", "layout": "oci:%s/x:v1", "oci-archive": "oci-archive:%s/x.tar:v1",
			"docker-archive": "docker-archive:%s/x.tar:docker.io/our/x:v1",
		} {
			if strings.HasPrefix(transport, "oci") && name == "docker" || transport == "layout" && name == "docker" {
				continue // skopeo 1.9 reads layouts only with manifests of OCI
			}
			t.Run(transport+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				ref = strings.Replace(ref, "%s", dir, 1)
				put(t, ref, plainOptions(nil), i)
				// The peer verifies all digests while it copies, and unpacks nothing.
				skopeo(t, "copy", "--src-tls-verify=false", ref, "oci:"+dir+"/out:v1")
				s := openSource(t, "oci:"+dir+"/out:v1", Options{})
				m, err := s.Manifest(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				parsed, err := manifest.ParseManifest(m.Raw)
				if err != nil {
					t.Fatal(err)
				}
				config, err := readBlob(t, s, parsed.Config)
				if err != nil || len(parsed.Layers) != 2 {
					t.Fatalf("%d layers, configuration: %v", len(parsed.Layers), err)
				}
				got, err := manifest.ParseConfig(config)
				if err != nil {
					t.Fatal(err)
				}
				want, err := manifest.ParseConfig(i.config)
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(got.RootFS) != fmt.Sprint(want.RootFS) {
					t.Errorf("layers %v, want %v", got.RootFS, want.RootFS)
				}
			})
		}
	}
}

func TestWeReadWhatSkopeoWrites(t *testing.T) {
	host := realRegistry(t, "http", "", "")
	i := makeImage(t, 5, 200_000)
	from := "oci:" + t.TempDir() + "/from:v1"
	put(t, from, Options{}, i)
	dir := t.TempDir()
	for _, ref := range []string{"docker://" + host + "/their/x:v1", "oci:" + dir + "/x:v1", "oci-archive:" + dir + "/x.tar:v1"} {
		t.Run(ref, func(t *testing.T) {
			skopeo(t, "copy", "--dest-tls-verify=false", from, ref)
			checkImage(t, openSource(t, ref, plainOptions(nil)), i)
		})
	}
	archive := "docker-archive:" + dir + "/d.tar:docker.io/their/x:v1"
	skopeo(t, "copy", from, archive)
	s := openSource(t, archive, Options{})
	m, err := s.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := manifest.ParseManifest(m.Raw)
	if err != nil {
		t.Fatal(err)
	}
	for n, layer := range parsed.Layers {
		if data, err := readBlob(t, s, layer); err != nil || !bytes.Equal(data, i.tars[n]) {
			t.Errorf("layer %d of docker-archive: %v", n, err)
		}
	}
}

func TestPodmanLoadsOurArchivesAndWeReadItsOwn(t *testing.T) {
	testenv.Root(t)
	podman := testenv.Peer(t, "podman")
	dir := t.TempDir()
	first, second := makeImage(t, 5, 20_000), makeImage(t, 6, 20_000)
	put(t, "docker-archive:"+dir+"/x.tar:localhost/loaded:v1", Options{}, first)
	put(t, "docker-archive:"+dir+"/y.tar:localhost/second:v2", Options{}, second)
	runroot, err := os.MkdirTemp("", "cfs") // podman takes at most 50 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runroot) })
	run := func(args ...string) string {
		t.Helper()
		base := []string{
			"--root", filepath.Join(dir, "root"), "--runroot", runroot, "--storage-driver", "vfs",
			"--cgroup-manager", "cgroupfs", "--events-backend", "none",
		}
		out, err := exec.Command(podman, append(base, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("podman %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("load", "--input", filepath.Join(dir, "x.tar"))
	if out := run("images", "--format", "{{.Repository}}:{{.Tag}}"); !strings.Contains(out, "localhost/loaded:v1") {
		t.Errorf("images:\n%s", out)
	}
	run("load", "--input", filepath.Join(dir, "y.tar"))
	run("save", "--multi-image-archive", "--output", filepath.Join(dir, "both.tar"), "localhost/loaded:v1", "localhost/second:v2")
	checkDockerArchive(t, "docker-archive:"+dir+"/both.tar:localhost/loaded:v1", first)
	checkDockerArchive(t, "docker-archive:"+dir+"/both.tar:localhost/second:v2", second)
	if s, err := OpenSource(t.Context(), parse(t, "docker-archive:"+dir+"/both.tar"), Options{}); err == nil {
		s.Close()
		t.Error("one of two images was chosen")
	}
	run("save", "--format", "oci-archive", "--output", filepath.Join(dir, "oci.tar"), "localhost/loaded:v1")
	s := openSource(t, "oci-archive:"+dir+"/oci.tar", Options{})
	m, err := s.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := manifest.ParseManifest(m.Raw)
	if err != nil || len(parsed.Layers) != 2 {
		t.Errorf("oci-archive of podman: %d layers, %v", len(parsed.Layers), err)
	}
}

func TestRealRegistryMountsAndRecordsReferrers(t *testing.T) {
	host := realRegistry(t, "http", "", "")
	i := makeImage(t, 5, 200_000)
	put(t, host+"/base/x:v1", plainOptions(nil), i)
	layer, data := i.big()
	d := openDestination(t, host+"/other/y:v1", plainOptions(nil))
	defer d.Close()
	if has, err := d.HasBlob(t.Context(), layer); has || err != nil {
		t.Errorf("before: %v %v", has, err)
	}
	if mounted, err := d.MountBlob(t.Context(), layer, "no/such"); mounted || err != nil {
		t.Errorf("from a repository that is not there: %v %v", mounted, err)
	}
	if mounted, err := d.MountBlob(t.Context(), layer, "base/x"); !mounted || err != nil {
		t.Errorf("mount: %v %v", mounted, err)
	}
	if has, err := d.HasBlob(t.Context(), layer); !has || err != nil {
		t.Errorf("after: %v %v", has, err)
	}
	got, err := readBlob(t, openSource(t, host+"/other/y:v1", plainOptions(nil)), layer)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("mounted blob: %v", err)
	}
	putInto(t, d, i)
	m, empty := referrerOf(t, i.manifest.Descriptor(), "application/vnd.test", "n")
	if _, err := d.PutBlob(t.Context(), ocispec.Descriptor{}, bytes.NewReader(empty)); err != nil {
		t.Fatal(err)
	}
	if err := d.PutManifest(t.Context(), m, false); err != nil {
		t.Fatal(err)
	}
	source := openSource(t, host+"/other/y:v1", plainOptions(nil))
	list, err := source.Referrers(t.Context(), i.manifest.Digest, "application/vnd.test")
	if err != nil || len(list) != 1 || list[0].Digest != m.Digest || list[0].Annotations["note"] != "n" {
		t.Errorf("referrers %+v: %v", list, err)
	}
}

func TestRealRegistryWithPassword(t *testing.T) {
	// htpasswd -nbB user secret
	const line = "user:$2y$05$HfRBQ2FkCHn4SNLZzAwRhu5eUo9oOFbm4LD4N3Z0AWHHXAmoVSQpW\n"
	path := writeFile(t, htpasswd(t, line))
	host := realRegistry(t, "http", "auth: {htpasswd: {realm: test, path: "+path+"}}\n", "")
	i := makeImage(t, 5, 20_000)
	ref := host + "/x:v1"
	good := plainOptions(nil)
	good.Keychain = FixedKeychain(authn.AuthConfig{Username: "user", Password: "secret"})
	put(t, ref, good, i)
	checkImage(t, openSource(t, ref, good), i)
	for name, c := range map[string]authn.AuthConfig{"nobody": {}, "a wrong password": {Username: "user", Password: "Secret"}} {
		bad := plainOptions(nil)
		bad.Keychain = FixedKeychain(c)
		if _, err := openSource(t, ref, bad).Manifest(t.Context(), ""); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
		d := openDestination(t, ref, bad)
		if _, err := d.PutBlob(t.Context(), ocispec.Descriptor{}, strings.NewReader("x")); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s writes: %v", name, err)
		}
		d.Close()
	}
	// The peer's login file is ours too.
	auth := filepath.Join(t.TempDir(), "auth.json")
	skopeo(t, "login", "--tls-verify=false", "--authfile", auth, "-u", "user", "-p", "secret", host)
	filed := plainOptions(nil)
	filed.Keychain = FileKeychain(auth)
	checkImage(t, openSource(t, ref, filed), i)
	t.Setenv("REGISTRY_AUTH_FILE", auth)
	filed.Keychain = nil
	checkImage(t, openSource(t, ref, filed), i)
}

// htpasswd makes the line of a password file with the program of that name, for its hashes are bcrypt.
func htpasswd(t *testing.T, fallback string) string {
	t.Helper()
	out, err := exec.Command("htpasswd", "-nbB", "user", "secret").Output()
	if err != nil {
		return fallback
	}
	return strings.TrimSpace(string(out)) + "\n"
}

// authority is a certificate authority of the test's own, with a certificate for loopback.
type authority struct{ ca, cert, key []byte }

func newAuthority(t *testing.T) authority {
	t.Helper()
	now := time.Now()
	makeCert := func(c, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
		t.Helper()
		c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "loopback"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{
		ca: makeCert(ca, ca, caKey, caKey), cert: makeCert(leaf, ca, key, caKey),
		key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRealRegistryWithTLS(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	writeFiles(t, dir, map[string][]byte{"ca.crt": a.ca, "server.pem": a.cert, "server.key": a.key})
	host := realRegistry(t, "https", "", fmt.Sprintf("  tls: {certificate: %[1]s/server.pem, key: %[1]s/server.key, clientcas: [%[1]s/ca.crt]}\n", dir))
	i := makeImage(t, 5, 20_000)
	ref := host + "/x:v1"
	certs := t.TempDir()
	client := map[string][]byte{"ca.crt": a.ca, "client.cert": a.cert, "client.key": a.key}
	writeFiles(t, certs, client)
	opts := func(change func(*Options)) Options {
		o := Options{Keychain: FixedKeychain(noCredentials), RetryDelay: time.Millisecond, CertDir: certs}
		change(&o)
		return o
	}
	put(t, ref, opts(func(*Options) {}), i)
	checkImage(t, openSource(t, ref, opts(func(*Options) {})), i)
	perHost := t.TempDir()
	writeFiles(t, filepath.Join(perHost, host), client)
	checkImage(t, openSource(t, ref, opts(func(o *Options) { o.CertDir = perHost })), i)
	// Without verification the server still wants a client's certificate.
	onlyClient := t.TempDir()
	writeFiles(t, onlyClient, map[string][]byte{"client.cert": a.cert, "client.key": a.key})
	checkImage(t, openSource(t, ref, opts(func(o *Options) {
		o.CertDir, o.InsecureSkipVerify = onlyClient, func(h string) bool { return h == host }
	})), i)
	onlyCA := t.TempDir()
	writeFiles(t, onlyCA, map[string][]byte{"ca.crt": a.ca})
	noKey := t.TempDir()
	writeFiles(t, noKey, map[string][]byte{"ca.crt": a.ca, "client.cert": a.cert})
	for name, change := range map[string]func(*Options){
		"an unknown authority":                func(o *Options) { o.CertDir = onlyClient },
		"no certificate of the client":        func(o *Options) { o.CertDir = onlyCA },
		"a certificate without its key":       func(o *Options) { o.CertDir = noKey },
		"a directory that is not there":       func(o *Options) { o.CertDir = filepath.Join(dir, "none") },
		"plain HTTP":                          func(o *Options) { o.PlainHTTP = func(string) bool { return true } },
		"no verification of another's":        func(o *Options) { o.CertDir = onlyClient; o.InsecureSkipVerify = func(string) bool { return false } },
		"an authority that is no certificate": func(o *Options) { o.CertDir = dir; writeFiles(t, dir, map[string][]byte{"x.crt": []byte("x")}) },
	} {
		var seen events
		o := opts(change)
		o.Events = seen.add
		_, err := openSource(t, ref, o).Manifest(t.Context(), "")
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if errors.Is(err, ErrNotFound) {
			t.Errorf("%s: looks like an image that is not there: %v", name, err)
		}
		if name == "an unknown authority" && len(seen.list) > 0 {
			t.Errorf("%s: repeated: %v", name, seen.list)
		}
	}
}

func TestPlainHTTPIsNobodysDefault(t *testing.T) {
	s := startFaulty(t)
	opts := plainOptions(nil)
	opts.PlainHTTP = nil
	_, err := openSource(t, s.Host()+"/x:v1", opts).Manifest(t.Context(), "")
	if err == nil || !errors.Is(err, http.ErrSchemeMismatch) || len(s.Requests()) != 0 {
		t.Errorf("%v, %d requests", err, len(s.Requests()))
	}
}
