package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Reference is what a policy has to know of an image's name; that of package transport is one.
type Reference interface {
	// Transport returns how it is reached: "docker" for registries, "oci" and others.
	Transport() string
	// Scopes returns the scopes that it is in, the most particular first: of registries
	// HOST/REPOSITORY:TAG and so on to HOST and *.DOMAIN, of files absolute paths.
	Scopes() []string
	// String returns the whole of it.
	String() string
}

const registry = "docker"

// transports are those that have scopes of their own.
var transports = []string{registry, "oci", "oci-archive", "docker-archive", "containers-storage", "repository"}

// aliases are the names that Docker's registry has besides the one in references.
var aliases = map[string]string{"index.docker.io": "docker.io", "registry-1.docker.io": "docker.io"}

// normal returns the one spelling of a scope of a transport.
func normal(transport, scope string) string {
	if transport != registry {
		return scope
	}
	host, rest, _ := strings.Cut(scope, "/")
	host = strings.ToLower(host)
	for _, port := range []string{":443", ":80"} {
		host = strings.TrimSuffix(host, port)
	}
	host = strings.TrimSuffix(host, ".")
	if name, ok := aliases[host]; ok {
		host = name
	}
	if rest == "" {
		return host
	}
	return host + "/" + rest
}

// key is a scope with its transport, as rules are looked up by.
type key struct{ transport, scope string }

// parseScope reads a scope as it is in a file.
func parseScope(s string) (key, error) {
	transport, scope, ok := strings.Cut(s, ":")
	switch {
	case !ok || !slices.Contains(transports, transport):
		transport, scope = registry, s
	case transport == registry:
		scope = strings.TrimPrefix(scope, "//")
	}
	if ok && scope == "" {
		return key{transport, ""}, nil
	}
	var err error
	switch transport {
	case registry:
		err = checkRegistryScope(scope)
	case "containers-storage", "repository":
	default:
		if !path.IsAbs(scope) || path.Clean(scope) != scope {
			err = errors.New("its path is not absolute, or not in its shortest form")
		}
	}
	if err != nil {
		return key{}, fmt.Errorf("scope %q: %w", s, err)
	}
	return key{transport, normal(transport, scope)}, nil
}

// checkRegistryScope refuses scopes in which no image could be, since they look as if they meant
// some.
func checkRegistryScope(scope string) error {
	host, name, named := strings.Cut(scope, "/")
	domain, wild := strings.CutPrefix(host, "*.")
	if domain == "" || strings.ContainsAny(domain, "*@ ") {
		return errors.New("a * may only stand for the beginning of a host, as in *.example.com")
	}
	if !wild && host != "localhost" && !strings.ContainsAny(host, ".:") {
		return fmt.Errorf("%q is no host; images of Docker are below docker.io/library", host)
	}
	if wild && named {
		return errors.New("a scope of many hosts has no path")
	}
	if !named {
		return nil
	}
	name, _, _ = strings.Cut(name, "@")
	if at := strings.LastIndexByte(name, ':'); at >= 0 {
		name = name[:at]
	}
	if name != strings.ToLower(name) || strings.ContainsAny(name, " *:") || slices.Contains(strings.Split(name, "/"), "") {
		return fmt.Errorf("%q cannot be the beginning of a repository's name", name)
	}
	return nil
}
