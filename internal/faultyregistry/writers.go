package faultyregistry

import (
	"bytes"
	"net/http"
	"time"
)

// limitedWriter ends a body after so many bytes.
type limitedWriter struct {
	http.ResponseWriter
	left     int64
	noLength bool   // the answer must not say how long it would have been
	end      func() // called where the limit is; nil: the rest vanishes
}

func (l *limitedWriter) WriteHeader(status int) {
	if l.noLength {
		l.Header().Del("Content-Length")
	}
	l.ResponseWriter.WriteHeader(status)
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.noLength {
		l.Header().Del("Content-Length")
	}
	n := min(int64(len(p)), l.left)
	if n > 0 {
		if _, err := l.ResponseWriter.Write(p[:n]); err != nil {
			return 0, err
		}
		l.left -= n
	}
	if n < int64(len(p)) && l.end != nil {
		l.end()
	}
	return len(p), nil
}

type corruptWriter struct {
	http.ResponseWriter
	at int64
}

func (c *corruptWriter) Write(p []byte) (int, error) {
	if c.at >= 0 && c.at < int64(len(p)) {
		p = bytes.Clone(p)
		p[c.at] ^= 0x55
	}
	c.at -= int64(len(p))
	return c.ResponseWriter.Write(p)
}

type slowWriter struct {
	http.ResponseWriter
	size int
	wait time.Duration
}

func (s *slowWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		time.Sleep(s.wait)
		n, err := s.ResponseWriter.Write(p[done:min(done+s.size, len(p))])
		done += n
		if err != nil {
			return done, err
		}
		flush(s.ResponseWriter)
	}
	return done, nil
}

// headerWriter changes headers before they are sent.
type headerWriter struct {
	http.ResponseWriter
	change func(http.Header)
	sent   bool
}

func (h *headerWriter) WriteHeader(status int) {
	if !h.sent {
		h.sent = true
		h.change(h.Header())
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *headerWriter) Write(p []byte) (int, error) {
	if !h.sent {
		h.WriteHeader(http.StatusOK)
	}
	return h.ResponseWriter.Write(p)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
