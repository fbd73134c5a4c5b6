package faultyregistry

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rule says which requests a fault strikes.
type Rule struct {
	Method string // empty: all
	Path   string // a part of the path; empty: all
	Skip   int    // requests that are let through first
	Times  int    // how many are struck; 0: all
	Fault  Fault
}

// Fault answers a request wrongly. Next serves it well.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Request is what the log has of a request.
type Request struct {
	Method string
	Path   string
	Query  string
	Header http.Header
	Status int   // 0 if the connection was broken before an answer
	Bytes  int64 // of the answer's body
}

// Server is a registry on loopback. It is safe for concurrent use.
type Server struct {
	*httptest.Server
	next http.Handler

	mu    sync.Mutex
	rules []*planned
	log   []Request
	busy  int // requests that are being answered
}

type planned struct {
	Rule
	seen int
}

// New starts a server in plain HTTP. Close stops it.
func New(next http.Handler) *Server {
	s := unstarted(next)
	s.Start()
	return s
}

// NewTLS starts a server with a certificate of httptest's own, which Certificate returns.
func NewTLS(next http.Handler) *Server {
	s := unstarted(next)
	s.StartTLS()
	return s
}

func unstarted(next http.Handler) *Server {
	s := &Server{next: next}
	s.Server = httptest.NewUnstartedServer(s)
	return s
}

// Host returns HOST:PORT.
func (s *Server) Host() string { return s.Listener.Addr().String() }

// Plan adds rules after those that there are.
func (s *Server) Plan(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &planned{Rule: r})
	}
}

// Reset drops all rules and the log.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.log = nil, nil
}

// Requests returns the log, in the order in which requests were answered. It waits a moment for
// those that are not: a client has its answer before the server knows that it has.
func (s *Server) Requests() []Request {
	for end := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		log, busy := slices.Clone(s.log), s.busy
		s.mu.Unlock()
		if busy == 0 || time.Now().After(end) {
			return log
		}
	}
}

// Count returns how many requests of a method (empty: any) have part in their path.
func (s *Server) Count(method, part string) int {
	n := 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()}
	counter := &countingWriter{ResponseWriter: w}
	s.mu.Lock()
	s.busy++
	s.mu.Unlock()
	defer func() {
		entry.Status, entry.Bytes = counter.status, counter.bytes
		s.mu.Lock()
		s.log = append(s.log, entry)
		s.busy--
		s.mu.Unlock()
	}()
	if fault := s.fault(r); fault != nil {
		fault(counter, r, s.next)
		return
	}
	s.next.ServeHTTP(counter, r)
}

func (s *Server) fault(r *http.Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.rules {
		if p.Method != "" && p.Method != r.Method || !strings.Contains(r.URL.Path, p.Path) {
			continue
		}
		if p.Times > 0 && p.seen >= p.Skip+p.Times {
			continue
		}
		p.seen++
		if p.seen > p.Skip {
			return p.Fault
		}
		return nil
	}
	return nil
}

type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *countingWriter) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// Unwrap lets [http.ResponseController] flush.
func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
