package faultyregistry

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Drop breaks the connection after n bytes of the body.
func Drop(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limitedWriter{ResponseWriter: w, left: n, end: func() {
			flush(w)
			panic(http.ErrAbortHandler)
		}}, r)
	}
}

// Refuse breaks the connection before any answer.
func Refuse() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// Short ends the body properly after n bytes, as if that were all.
func Short(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limitedWriter{ResponseWriter: w, left: n, noLength: true}, r)
	}
}

// Corrupt changes the byte of the body at an offset.
func Corrupt(offset int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&corruptWriter{ResponseWriter: w, at: offset}, r)
	}
}

// Stall sends n bytes of the body and then nothing, until the client goes away.
func Stall(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&limitedWriter{ResponseWriter: w, left: n, end: func() {
			flush(w)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}}, r)
	}
}

// Slow waits before each piece of the body, of which each has at most size bytes.
func Slow(size int, wait time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&slowWriter{ResponseWriter: w, size: size, wait: wait}, r)
	}
}

// Status answers with a status, and with headers given as names and values in turn.
func Status(status int, header ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":"FAULT","message":"planned %d"}]}`, status)
	}
}

// IgnoreRange gives the whole blob to those who want a part.
func IgnoreRange() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	}
}

// WrongRange gives another part than was asked for, from shift bytes later on, and says so. Requests for
// everything are served well.
func WrongRange(shift int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if first, ok := rangeStart(r); ok {
			all := whole(r, next)
			part := all[min(first+shift, int64(len(all))):]
			answerRange(w, part, first+shift, int64(len(all)))
			return
		}
		next.ServeHTTP(w, r)
	}
}

// LieRange gives another part than was asked for, from shift bytes later on, and says that it is the
// right one.
func LieRange(shift int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if first, ok := rangeStart(r); ok {
			all := whole(r, next)
			part := bytes.Clone(all[min(first+shift, int64(len(all))):])
			part = append(part, make([]byte, int64(len(all))-first-int64(len(part)))...)
			answerRange(w, part, first, int64(len(all)))
			return
		}
		next.ServeHTTP(w, r)
	}
}

func rangeStart(r *http.Request) (int64, bool) {
	var first int64
	_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
	return first, err == nil
}

// whole returns the body of the answer to a request for everything.
func whole(r *http.Request, next http.Handler) []byte {
	all := &recorder{header: http.Header{}}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	next.ServeHTTP(all, r)
	return all.body.Bytes()
}

func answerRange(w http.ResponseWriter, part []byte, first, size int64) {
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+int64(len(part))-1, size))
	w.Header().Set("Content-Length", strconv.Itoa(len(part)))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(part) // the client may be gone
}

// RedirectLoop sends the client to where it is, for ever.
func RedirectLoop() Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}
}

// RedirectTo sends the client to the same path at another server, such as "http://127.0.0.1:1234".
func RedirectTo(server string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, server+r.URL.Path, http.StatusTemporaryRedirect)
	}
}

// LieDigest says that the content has another digest.
func LieDigest(digest string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&headerWriter{ResponseWriter: w, change: func(h http.Header) {
			h.Set("Docker-Content-Digest", digest)
		}}, r)
	}
}

// WithoutHeader leaves a header out of the answer.
func WithoutHeader(name string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&headerWriter{ResponseWriter: w, change: func(h http.Header) { h.Del(name) }}, r)
	}
}

// Endless answers with a body of n bytes, or without end if n is negative, without saying how long it is.
func Endless(n int64, mediaType string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return // the server would swallow the body without end
		}
		piece := bytes.Repeat([]byte(" "), 64<<10)
		for left := n; left != 0; {
			if left > 0 && left < int64(len(piece)) {
				piece = piece[:left]
			}
			if _, err := w.Write(piece); err != nil {
				return
			}
			if left > 0 {
				left -= int64(len(piece))
			}
		}
	}
}

// Answer answers with a body of choice.
func Answer(mediaType string, body []byte) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body) // the client may be gone
	}
}

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush() // the connection ends next
}

// Lost serves the request well, and breaks the connection instead of answering.
func Lost() Fault {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&recorder{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}
