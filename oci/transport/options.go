package transport

import (
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
)

// Options says how images are reached. The zero Options reach public registries through TLS with the
// system's authorities, and with the credentials that Docker and podman have stored.
type Options struct {
	// Keychain has the credentials for registries; nil stands for [DefaultKeychain].
	Keychain authn.Keychain
	// PlainHTTP says whether a registry, HOST or HOST:PORT, is spoken to in plain HTTP. Nil
	// stands for none, loopback included.
	PlainHTTP func(host string) bool
	// InsecureSkipVerify says whether the certificate of a registry is taken unverified. Nil stands for none.
	InsecureSkipVerify func(host string) bool
	// CertDir is a directory with authorities (*.crt) and client certificates (*.cert with *.key) for all
	// hosts; if it has a subdirectory HOST or HOST:PORT that counts for that host. Empty stands for the
	// directories of containers-certs.d(5), which are Docker's too.
	CertDir string
	// Registries has mirrors, blocked and insecure registries; nil stands for none. See [SystemRegistries].
	Registries *Registries
	// UserAgent is sent with each request; empty stands for "composefs".
	UserAgent string
	// Retries is how often a request or a read is repeated that may succeed at the next attempt. Zero
	// stands for 5; a negative number for never.
	Retries int
	// RetryDelay is the wait before the first repetition, which doubles each time up to 30 seconds.
	// Zero stands for half a second.
	RetryDelay time.Duration
	// IdleTimeout is how long a server may send nothing before the connection is given up, and counts
	// as broken. Zero stands for a minute.
	IdleTimeout time.Duration
	// Transport carries the requests instead of a transport that the options make: the options of TLS are
	// not used then. Closing idle connections is left to its owner.
	Transport http.RoundTripper
	// Events is told of what happened and did not fail the operation. It may be called
	// concurrently, and must not block for long.
	Events func(Event)
	// TempDir is where archives are spooled that can be read only once or are compressed; empty
	// stands for the system's directory for such files.
	TempDir string
}

// EventKind is what an [Event] is about.
type EventKind int

// Kinds of events.
const (
	// EventRetry: a request failed and is repeated after Wait.
	EventRetry EventKind = iota
	// EventResume: a read of a blob broke at Offset and goes on there after Wait.
	EventResume
	// EventRestart: a server cannot give parts of blobs, and Offset bytes are read again.
	EventRestart
	// EventMirror: a mirror was given up, and the next one or the registry itself is asked.
	EventMirror
)

// Event is something that happened on the way.
type Event struct {
	Kind    EventKind
	Host    string
	Digest  digest.Digest // of the blob or manifest, if it is one's
	Offset  int64         // in bytes
	Attempt int           // counted from 1
	Wait    time.Duration
	Err     error // why
}

func (k EventKind) String() string {
	switch k {
	case EventRetry:
		return "retry"
	case EventResume:
		return "resume"
	case EventRestart:
		return "restart"
	case EventMirror:
		return "mirror"
	}
	return "unknown"
}

func (o *Options) event(e Event) {
	if o.Events != nil {
		o.Events(e)
	}
}

func (o *Options) retries() int {
	switch {
	case o.Retries < 0:
		return 0
	case o.Retries == 0:
		return 5
	}
	return o.Retries
}

func (o *Options) retryDelay() time.Duration {
	if o.RetryDelay <= 0 {
		return 500 * time.Millisecond
	}
	return o.RetryDelay
}

func (o *Options) idleTimeout() time.Duration {
	if o.IdleTimeout <= 0 {
		return time.Minute
	}
	return o.IdleTimeout
}

func (o *Options) userAgent() string {
	if o.UserAgent == "" {
		return "composefs"
	}
	return o.UserAgent
}
