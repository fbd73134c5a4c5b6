package transport

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// hosts carries requests to whatever host they are for, each by a transport with the host's own
// authorities, certificates and name of this client. It is safe for concurrent use.
type hosts struct {
	opts     *Options
	insecure map[string]bool // hosts for which a registries.conf asks for no verification

	mu         sync.Mutex
	transports map[string]*http.Transport
}

func newHosts(opts *Options) *hosts {
	return &hosts{opts: opts, insecure: map[string]bool{}, transports: map[string]*http.Transport{}}
}

// RoundTrip implements [http.RoundTripper].
func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, err := h.transport(req.URL.Host)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", h.opts.userAgent())
	if err := freshBody(req); err != nil {
		return nil, err
	}
	return rt.RoundTrip(req)
}

func (h *hosts) transport(host string) (http.RoundTripper, error) {
	if h.opts.Transport != nil {
		return h.opts.Transport, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.transports[host]; t != nil {
		return t, nil
	}
	insecure := h.insecure[host] || h.opts.InsecureSkipVerify != nil && h.opts.InsecureSkipVerify(host)
	tlsConfig, err := tlsFor(host, h.opts.CertDir, insecure)
	if err != nil {
		return nil, notSetUp("set up TLS for "+host, err)
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   30 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       30 * time.Second,
		// Blobs are bytes that have a digest: nothing on the way may unpack them.
		DisableCompression: true,
		ReadBufferSize:     64 << 10,
		WriteBufferSize:    64 << 10,
		// An answer has few headers; the standard library's default is 10 MB.
		MaxResponseHeaderBytes: 256 << 10,
	}
	h.transports[host] = t
	return t, nil
}

func (h *hosts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.transports {
		t.CloseIdleConnections()
	}
}
