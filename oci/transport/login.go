package transport

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// login adds credentials to requests, once a server has asked for them: an open registry is
// spoken to without asking first how it wants to be spoken to, which would be one round trip more. It
// is safe for concurrent use.
type login struct {
	base     http.RoundTripper
	keychain authn.Keychain
	host     string // of the API
	name     string // of the registry as the user says it
	repo     string
	scopes   []string

	mu    sync.Mutex
	inner map[string]http.RoundTripper // by scheme and host: what answered the challenge

	renewing sync.Mutex
}

// RoundTrip implements [http.RoundTripper].
func (l *login) RoundTrip(req *http.Request) (*http.Response, error) {
	key := req.URL.Scheme + "://" + req.URL.Host
	if rt := l.known(key); rt != nil {
		return l.withLogin(rt, req.Clone(req.Context()))
	}
	res, err := l.base.RoundTrip(req.Clone(req.Context()))
	if err != nil || res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
		return res, err
	}
	again := req.Clone(req.Context())
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case req.GetBody != nil:
		if again.Body, err = req.GetBody(); err != nil {
			res.Body.Close()
			return nil, err
		}
	default:
		return res, nil // the body is spent; callers see 401
	}
	drain(res)
	rt, err := l.answer(req.Context(), key, req, res.Header)
	if err != nil {
		return nil, err
	}
	return l.withLogin(rt, again)
}

// renewal is one request's part in renewing a token.
type renewal struct {
	login *login
	mine  bool // whether the request holds the lock
}

type renewalKey struct{}

// withLogin sends a request with credentials. The library renews tokens inside, and writes there without a
// lock what others read: so from the answer that says that a token has expired, up to the answer to the
// request with the new one, a request has the login to itself.
func (l *login) withLogin(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	r := &renewal{login: l}
	defer func() {
		if r.mine {
			l.renewing.Unlock()
		}
	}()
	return rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), renewalKey{}, r)))
}

// answered takes the lock for a request that has to renew its token.
func (r *renewal) answered(res *http.Response) {
	if !r.mine && res.Header.Get("WWW-Authenticate") != "" {
		r.login.renewing.Lock()
		r.mine = true
	}
}

func (l *login) known(key string) http.RoundTripper {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inner[key]
}

// answer makes what answers a host's challenge. Hosts that the registry redirected to get no
// credentials, at most a token that they give to anybody.
func (l *login) answer(ctx context.Context, key string, req *http.Request, challenge http.Header) (http.RoundTripper, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rt := l.inner[key]; rt != nil {
		return rt, nil
	}
	auth := authn.Anonymous
	if req.URL.Host == l.host {
		var err error
		if auth, err = authn.Resolve(ctx, l.keychain, target{l.name, l.repo}); err != nil {
			return nil, notSetUp("get credentials for "+l.name, err)
		}
	}
	var options []name.Option
	if req.URL.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(req.URL.Host, options...)
	if err != nil {
		return nil, &permanentError{err}
	}
	recorded := &recordedChallenge{base: l.base, scheme: req.URL.Scheme, header: challenge}
	rt, err := ggcr.NewWithContext(ctx, registry, auth, recorded, l.scopes)
	if err != nil {
		return nil, err
	}
	l.inner[key] = rt
	return rt, nil
}

// target is what a keychain is asked about, under the names that the user knows: the library
// would call docker.io by the host that serves it.
type target struct{ registry, repo string }

func (t target) String() string      { return t.registry + "/" + t.repo }
func (t target) RegistryStr() string { return t.registry }

// recordedChallenge carries the library's requests, and answers its first question, how to log in, with
// what the server has said already.
type recordedChallenge struct {
	base   http.RoundTripper
	scheme string
	header http.Header
}

var errOtherScheme = errors.New("the server speaks another scheme")

// RoundTrip implements [http.RoundTripper].
func (r *recordedChallenge) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.URL.Path != "/v2/" {
		res, err := r.base.RoundTrip(req)
		if mine, ok := req.Context().Value(renewalKey{}).(*renewal); ok && err == nil {
			mine.answered(res)
		}
		return res, err
	}
	if req.URL.Scheme != r.scheme {
		return nil, errOtherScheme
	}
	return &http.Response{
		Status: "401 Unauthorized", StatusCode: http.StatusUnauthorized,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header.Clone(), Body: http.NoBody, Request: req,
	}, nil
}
