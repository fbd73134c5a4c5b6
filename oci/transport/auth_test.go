package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/internal/faultyregistry"
)

// tokenRegistry is a registry that wants tokens, with the server that gives them. Every token
// serves a number of requests and is then expired.
type tokenRegistry struct {
	*faultyregistry.Server
	tokens *httptest.Server

	mu     sync.Mutex
	uses   int // of each token
	left   map[string]int
	scopes []string
	given  int
	oauth  bool // gives tokens with which others are had
}

func startTokenRegistry(t *testing.T, uses int) *tokenRegistry {
	t.Helper()
	r := &tokenRegistry{uses: uses, left: map[string]int{}}
	r.tokens = httptest.NewServer(http.HandlerFunc(r.give))
	t.Cleanup(r.tokens.Close)
	inner := memoryRegistry()
	r.Server = faultyregistry.New(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !r.use(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")) {
			// By name, for the library trusts no realm that is a private address.
			realm := strings.Replace(r.tokens.URL, "127.0.0.1", "localhost", 1)
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *tokenRegistry) give(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	refresh := req.Method == http.MethodPost && strings.HasPrefix(req.FormValue("refresh_token"), "refresh")
	if (user != "user" || password != "secret") && !refresh {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	r.given++
	token := fmt.Sprint("token", r.given)
	r.left[token] = r.uses
	r.scopes = append(r.scopes, req.URL.Query()["scope"]...)
	answer := map[string]any{"token": token, "expires_in": 60}
	oauth := r.oauth
	if oauth {
		answer["refresh_token"] = fmt.Sprint("refresh", r.given)
	}
	r.mu.Unlock()
	if oauth {
		time.Sleep(20 * time.Millisecond) // others notice meanwhile that their token has expired
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

func (r *tokenRegistry) use(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left[token] == 0 {
		return false
	}
	r.left[token]--
	return true
}

func withPassword() Options {
	o := plainOptions(nil)
	o.Keychain = FixedKeychain(authn.AuthConfig{Username: "user", Password: "secret"})
	return o
}

func TestTokensAreRenewed(t *testing.T) {
	for _, uses := range []int{1, 2, 3, 1000} {
		r := startTokenRegistry(t, uses)
		i := makeImage(t, 1, 100_000)
		ref := r.Host() + "/x:v1"
		put(t, ref, withPassword(), i)
		checkImage(t, openSource(t, ref, withPassword()), i)
		if uses == 1000 && r.given != 2 {
			t.Errorf("%d tokens for one writer and one reader", r.given)
		}
		want := []string{"repository:x:pull,push", "repository:x:pull"}
		if uses == 1000 && cmp.Diff(want, r.scopes) != "" {
			t.Errorf("scopes %v", r.scopes)
		}
	}
}

func TestTokensAreRefused(t *testing.T) {
	r := startTokenRegistry(t, 100)
	opts := plainOptions(nil)
	if _, err := openSource(t, r.Host()+"/x:v1", opts).Manifest(t.Context(), ""); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("without credentials: %v", err)
	}
	opts.Keychain = FixedKeychain(authn.AuthConfig{RegistryToken: "stolen"})
	if _, err := openSource(t, r.Host()+"/x:v1", opts).Manifest(t.Context(), ""); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("with a wrong token: %v", err)
	}
}

func TestBrokenTokenServerIsAskedAgain(t *testing.T) {
	r := startTokenRegistry(t, 100)
	i := makeImage(t, 1, 1000)
	ref := r.Host() + "/x:v1"
	put(t, ref, withPassword(), i)
	var asked atomic.Int32
	good := r.tokens.Config.Handler
	r.tokens.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		good.ServeHTTP(w, req)
	})
	checkImage(t, openSource(t, ref, withPassword()), i)
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	i := makeImage(t, 1, 100_000)
	desc, _ := i.big()
	storage := startFaulty(t)
	put(t, storage.Host()+"/x:v1", plainOptions(nil), i)
	basic := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); !ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	tokens := startTokenRegistry(t, 1000)
	for name, s := range map[string]*faultyregistry.Server{"basic": faultyregistry.New(basic(memoryRegistry())), "token": tokens.Server} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(s.Close)
			ref := s.Host() + "/x:v1"
			put(t, ref, withPassword(), i)
			storage.Reset()
			storage.Plan(faultyregistry.Rule{Times: 1, Fault: faultyregistry.Drop(30_000)})
			source := openSource(t, ref, withPassword())
			if _, err := source.Manifest(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			s.Plan(faultyregistry.Rule{Path: "/blobs/", Fault: redirectAfterLogin("http://" + storage.Host())})
			data, err := readBlob(t, source, desc)
			if err != nil || digest.FromBytes(data) != desc.Digest {
				t.Fatalf("through a redirect: %v", err)
			}
			requests := storage.Requests()
			for _, r := range requests {
				if r.Header.Get("Authorization") != "" {
					t.Errorf("the other host got %q", r.Header.Get("Authorization"))
				}
			}
			if len(requests) != 2 || !strings.HasPrefix(requests[1].Header.Get("Range"), "bytes=30000-") {
				t.Errorf("the other host was asked %+v", requests)
			}
		})
	}
}

func redirectAfterLogin(server string) faultyregistry.Fault {
	redirect := faultyregistry.RedirectTo(server)
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Header.Get("Authorization") == "" {
			next.ServeHTTP(w, r)
			return
		}
		redirect(w, r, next)
	}
}

func TestRedirectFromTLSToPlainHTTPIsRefused(t *testing.T) {
	storage := startFaulty(t)
	s := faultyregistry.NewTLS(memoryRegistry())
	t.Cleanup(s.Close)
	s.Plan(faultyregistry.Rule{Fault: faultyregistry.RedirectTo("http://" + storage.Host())})
	opts := Options{
		Keychain: FixedKeychain(noCredentials), InsecureSkipVerify: func(string) bool { return true },
	}
	_, err := openSource(t, s.Host()+"/x:v1", opts).Manifest(t.Context(), "")
	if !errors.Is(err, ErrDenied) || len(storage.Requests()) != 0 {
		t.Errorf("%v, %d requests", err, len(storage.Requests()))
	}
}

func TestUploadsStayWithTheirHost(t *testing.T) {
	other := startFaulty(t)
	s := startFaulty(t)
	s.Plan(faultyregistry.Rule{Method: "POST", Fault: faultyregistry.Status(http.StatusAccepted, "Location", "http://"+other.Host()+"/v2/x/blobs/uploads/1")})
	d := openDestination(t, s.Host()+"/x:v1", plainOptions(nil))
	defer d.Close()
	i := makeImage(t, 1, 1000)
	if _, err := d.PutBlob(t.Context(), i.parsed.Config, strings.NewReader(string(i.config))); !errors.Is(err, ErrDenied) || len(other.Requests()) != 0 {
		t.Errorf("%v, %d requests", err, len(other.Requests()))
	}
}

type resource struct{ registry, repo string }

func (r resource) String() string      { return r.registry + "/" + r.repo }
func (r resource) RegistryStr() string { return r.registry }

func TestKeychainReadsFilesOfDockerAndPodman(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	for _, variable := range []string{"REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"} {
		t.Setenv(variable, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	helper := "#!/bin/sh\nread host\nif [ $host = gone.example ]; then echo 'credentials not found in native keychain'; exit 1; fi\n" +
		`echo "{\"ServerURL\":\"$host\",\"Username\":\"helped\",\"Secret\":\"for $host\"}"` + "\n"
	writeFiles(t, filepath.Join(dir, "bin"), map[string][]byte{"docker-credential-test": []byte(helper)})
	if err := os.Chmod(filepath.Join(dir, "bin", "docker-credential-test"), 0o700); err != nil {
		t.Fatal(err)
	}
	// user:one and so on, in base64
	writeFiles(t, filepath.Join(dir, "run", "containers"), map[string][]byte{"auth.json": []byte(`{"auths":{
		"a.example": {"auth":"dXNlcjpvbmU="}, "a.example/team": {"auth":"dXNlcjp0d28="}, "a.example/team/repo": {"auth":"dXNlcjp0aHJlZQ=="}}}`)})
	writeFiles(t, filepath.Join(home, ".config", "containers"), map[string][]byte{"auth.json": []byte(`{"auths":{
		"a.example": {"auth":"dXNlcjpmb3Vy"}, "b.example": {"auth":"dXNlcjpmaXZl"}}}`)})
	writeFiles(t, filepath.Join(home, ".docker"), map[string][]byte{"config.json": []byte(`{"auths":{
		"https://index.docker.io/v1/": {"auth":"dXNlcjpodWI="}, "id.example": {"identitytoken":"idtoken"}, "https://c.example/v1/": {"auth":"dXNlcjpvbGQ="}},
		"credHelpers":{"h.example":"test","gone.example":"test","broken.example":"missing"}}`)})
	tests := map[resource]string{
		{"a.example", "x"}: "user one", {"a.example", "team/x"}: "user two", {"a.example", "team/repo"}: "user three",
		{"a.example", "team/repo/sub"}: "user three", {"a.example", "teammate/x"}: "user one",
		{"b.example", "x"}: "user five", {"docker.io", "library/x"}: "user hub", {"c.example", "x"}: "user old",
		{"h.example", "x/y"}: "helped for h.example", {"gone.example", "x"}: " ", {"d.example", "x"}: " ",
	}
	keychain := DefaultKeychain()
	for target, want := range tests {
		auth, err := keychain.Resolve(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		c, err := auth.Authorization()
		if got := c.Username + " " + c.Password; err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", target, got, want, err)
		}
	}
	auth, err := keychain.Resolve(resource{"id.example", "x"})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := auth.Authorization(); err != nil || c.IdentityToken != "idtoken" {
		t.Errorf("identity token: %+v %v", c, err)
	}
	if _, err := keychain.Resolve(resource{"broken.example", "x"}); err == nil || !strings.Contains(err.Error(), "docker-credential-missing") {
		t.Errorf("a helper that is missing: %v", err)
	}
	if _, err := FileKeychain(filepath.Join(dir, "none")).Resolve(resource{"a.example", "x"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a file that is missing: %v", err)
	}
	t.Setenv("REGISTRY_AUTH_FILE", writeFile(t, "{"))
	if _, err := keychain.Resolve(resource{"a.example", "x"}); err == nil {
		t.Error("a broken file: no error")
	}
}

func TestTokensAreRenewedByManyAtOnce(t *testing.T) {
	r := startTokenRegistry(t, 1000)
	i := makeImage(t, 1, 10_000)
	ref := r.Host() + "/x:v1"
	put(t, ref, withPassword(), i)
	r.mu.Lock()
	r.uses, r.oauth = 20, true
	r.mu.Unlock()
	s := openSource(t, ref, withPassword())
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 20 {
				if data, err := readBlob(t, s, i.parsed.Layers[1]); err != nil || len(data) != len(i.layers[1]) {
					t.Errorf("%d bytes: %v", len(data), err)
				}
			}
		})
	}
	wait.Wait()
}

func TestNobodyIsThere(t *testing.T) {
	s := startFaulty(t)
	host := s.Host()
	s.Close()
	var seen events
	if _, err := openSource(t, host+"/x:v1", plainOptions(&seen)).Manifest(t.Context(), ""); err == nil || len(seen.list) != 1 {
		t.Errorf("%v after %d repetitions", err, len(seen.list))
	}
}

func TestHostsOfIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("there is no IPv6 here: %v", err)
	}
	inner := memoryRegistry()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); user != "user" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	i := makeImage(t, 1, 1000)
	ref := l.Addr().String() + "/x:v1"
	put(t, ref, withPassword(), i)
	checkImage(t, openSource(t, ref, withPassword()), i)
}
