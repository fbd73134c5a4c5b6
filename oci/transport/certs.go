package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// certDirs returns the directories of containers-certs.d(5), with those of the user first.
func certDirs() []string {
	var dirs []string
	if config, err := os.UserConfigDir(); err == nil {
		dirs = append(dirs, filepath.Join(config, "containers", "certs.d"))
	}
	return append(dirs, "/etc/containers/certs.d", "/etc/docker/certs.d")
}

// tlsFor returns the TLS settings for a host: the system's authorities and those that certDir or,
// without one, the system's configuration has for it.
func tlsFor(host, certDir string, insecure bool) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: insecure, //nolint:gosec // the user has asked for it, for this host
	}
	dirs := certDirs()
	if certDir != "" {
		dirs = []string{certDir}
		if _, err := os.Stat(certDir); err != nil {
			return nil, err
		}
	}
	for _, parent := range dirs {
		dir := filepath.Join(parent, host)
		if _, err := os.Stat(dir); err != nil {
			if dir = certDir; dir == "" {
				continue
			}
		}
		return c, addCerts(c, dir)
	}
	return c, nil
}

// addCerts adds the authorities and client certificates in a directory.
func addCerts(c *tls.Config, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // another user's; those who need it learn from the failing handshake
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch filepath.Ext(path) {
		case ".crt":
			pem, err := readFile(path, maxConfigFile)
			if err != nil {
				return err
			}
			if c.RootCAs == nil {
				if c.RootCAs, err = x509.SystemCertPool(); err != nil {
					c.RootCAs = x509.NewCertPool()
				}
			}
			if !c.RootCAs.AppendCertsFromPEM(pem) {
				return fmt.Errorf("read %s: there is no certificate in it", path)
			}
		case ".cert":
			key := strings.TrimSuffix(path, ".cert") + ".key"
			pair, err := tls.LoadX509KeyPair(path, key)
			if err != nil {
				return fmt.Errorf("read client certificate %s with %s: %w", path, key, err)
			}
			c.Certificates = append(c.Certificates, pair)
		}
	}
	return nil
}
