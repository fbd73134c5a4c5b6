package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// dockerHub is the key under which Docker keeps the credentials of docker.io.
const dockerHub = "https://index.docker.io/v1/"

// DefaultKeychain returns the credentials that podman and Docker have stored, as containers-auth.json(5)
// says. The files are asked in this order, and the first that has credentials for the repository, for one
// of the paths above it or for its registry gives them: the one that $REGISTRY_AUTH_FILE names (and then no
// other), $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, and Docker's config.json.
// Credential helpers that a file names are run, programs docker-credential-NAME. Files are read when
// credentials are needed, so that a login is seen at once. Without credentials the access is anonymous.
func DefaultKeychain() authn.Keychain { return &fileKeychain{paths: authFiles} }

// FileKeychain is [DefaultKeychain] with one file, which has to be there.
func FileKeychain(path string) authn.Keychain {
	return &fileKeychain{required: true, paths: func() []string { return []string{path} }}
}

// FixedKeychain gives the same credentials to every registry: those that a user types for
// one command. Mirrors get them too.
func FixedKeychain(c authn.AuthConfig) authn.Keychain { return fixedKeychain{authn.FromConfig(c)} }

type fixedKeychain struct{ authn.Authenticator }

func (k fixedKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return k.Authenticator, nil
}

// fileKeychain is safe for concurrent use: helpers run one at a time, for some ask the user.
type fileKeychain struct {
	mu       sync.Mutex
	required bool
	paths    func() []string
}

func authFiles() []string {
	if path := os.Getenv("REGISTRY_AUTH_FILE"); path != "" {
		return []string{path}
	}
	var paths []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	home, err := os.UserHomeDir()
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	} else if err == nil {
		paths = append(paths, filepath.Join(home, ".config", "containers", "auth.json"))
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		paths = append(paths, filepath.Join(dir, "config.json"))
	} else if err == nil {
		paths = append(paths, filepath.Join(home, ".docker", "config.json"))
	}
	return paths
}

// Resolve implements [authn.Keychain].
func (k *fileKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, path := range k.paths() {
		data, err := readFile(path, maxConfigFile)
		if errors.Is(err, fs.ErrNotExist) && !k.required || errors.Is(err, fs.ErrPermission) && !k.required {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		file, err := config.LoadFromReader(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("read credentials in %s: %w", path, err)
		}
		auth, err := fromFile(file, target)
		if err != nil {
			return nil, fmt.Errorf("get credentials for %s as %s says: %w", target, path, err)
		}
		if auth != nil {
			return auth, nil
		}
	}
	return authn.Anonymous, nil
}

// fromFile returns nil if the file has nothing for the target.
func fromFile(file *configfile.ConfigFile, target authn.Resource) (authn.Authenticator, error) {
	for _, key := range authKeys(target) {
		// Helpers know hosts, and asking for each path would run them as often.
		_, isPath := strings.CutPrefix(key, target.RegistryStr()+"/")
		var c types.AuthConfig
		if isPath {
			c = file.AuthConfigs[key]
		} else {
			var err error
			if c, err = file.GetAuthConfig(key); err != nil {
				return nil, err
			}
		}
		c.ServerAddress = "" // the library sets it also if there is nothing else
		if c != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{
				Username: c.Username, Password: c.Password, Auth: c.Auth,
				IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
			}), nil
		}
	}
	return nil, nil
}

// authKeys returns the keys under which credentials for a repository may be, the most particular first.
func authKeys(target authn.Resource) []string {
	host := target.RegistryStr()
	var keys []string
	for name := target.String(); len(name) > len(host); name = name[:strings.LastIndexByte(name, '/')] {
		keys = append(keys, name)
	}
	if host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io" {
		return append(keys, dockerHub, "docker.io", "index.docker.io")
	}
	return append(keys, host)
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: %w: more than %d bytes", path, ErrLimit, limit)
	}
	return data, nil
}
