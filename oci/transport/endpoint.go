package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// endpoint is a repository in a registry, as one host serves it. It is safe for concurrent use.
type endpoint struct {
	opts    *Options
	place   place
	retries int
	client  *http.Client
	plain   atomic.Bool // plain HTTP
	reached atomic.Bool // it has answered once
}

// newEndpoint makes an endpoint with what it may do there: "pull" or "pull,push". More scopes may be
// given, of repositories from which blobs are mounted.
func newEndpoint(opts *Options, h *hosts, p place, actions string, more ...string) *endpoint {
	e := &endpoint{opts: opts, place: p, retries: opts.retries()}
	host := e.apiHost()
	if p.insecure {
		h.insecure[host] = true
	}
	e.plain.Store(opts.PlainHTTP != nil && opts.PlainHTTP(p.host))
	keychain := opts.Keychain
	if keychain == nil {
		keychain = DefaultKeychain()
	}
	e.client = &http.Client{
		Transport: &login{
			base: h, keychain: keychain, host: host, name: p.host, repo: p.repo,
			scopes: append([]string{"repository:" + p.repo + ":" + actions}, more...),
			inner:  map[string]http.RoundTripper{},
		},
		CheckRedirect: e.checkRedirect,
	}
	return e
}

// apiHost is the host that serves the registry: Docker's is called by another name.
func (e *endpoint) apiHost() string {
	if e.place.host == "docker.io" {
		return "registry-1.docker.io"
	}
	return e.place.host
}

// maxRedirects bounds how often a request may be sent elsewhere.
const maxRedirects = 10

// checkRedirect refuses what a registry must not do to its clients. Credentials are not at
// stake: they are added behind this, by host.
func (e *endpoint) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &permanentError{fmt.Errorf("%w: more than %d redirects", ErrLimit, maxRedirects)}
	}
	if req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https" && !e.place.insecure {
		return &permanentError{fmt.Errorf("redirect from TLS to plain HTTP at %s: %w", req.URL.Host, ErrDenied)}
	}
	return nil
}

// url returns the address of something in the repository, such as "manifests/latest".
func (e *endpoint) url(path string, query url.Values) *url.URL {
	scheme := "https"
	if e.plain.Load() {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: e.apiHost(), Path: "/v2/" + e.place.repo + "/" + path, RawQuery: query.Encode()}
}

// fallBack goes over to plain HTTP where the configuration allows it and there is no TLS. It says
// whether to try again.
func (e *endpoint) fallBack(ctx context.Context, err error) bool {
	if err == nil || !e.place.insecure || e.plain.Load() || ctx.Err() != nil {
		return false
	}
	var op *net.OpError
	if errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &op) && op.Op == "dial" {
		e.plain.Store(true)
		return true
	}
	return false
}

// sameHost resolves an address that the registry gave, such as where an upload goes on, and refuses one on
// another host. The scheme stays: registries behind a proxy for TLS often do not know theirs.
func (e *endpoint) sameHost(base *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, &permanentError{errors.New("the registry does not say where to go on")}
	}
	u, err := base.Parse(location)
	if err != nil {
		return nil, &permanentError{errors.New("the registry says to go on at what is no address")}
	}
	if !strings.EqualFold(canonicalHost(u), canonicalHost(base)) {
		return nil, &permanentError{fmt.Errorf("the registry says to go on at %s, which is another host: %w", printable(u.Host), ErrDenied)}
	}
	u.Scheme, u.Host, u.User = base.Scheme, base.Host, nil
	return u, nil
}

func canonicalHost(u *url.URL) string {
	if u.Scheme == "https" {
		return strings.TrimSuffix(u.Host, ":443")
	}
	return strings.TrimSuffix(u.Host, ":80")
}
