package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxErrorBody bounds what is read of a server's explanation, in bytes.
const maxErrorBody = 64 << 10

// statusError is an answer that is not what was asked for.
type statusError struct {
	method string
	where  string // host and path: queries may have secrets
	status int
	text   string // the server's explanation
	header http.Header
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.method, e.where, e.status, http.StatusText(e.status))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// Is makes the classes of answers that callers branch on.
func (e *statusError) Is(target error) bool {
	switch e.status {
	case http.StatusUnauthorized:
		return target == ErrUnauthorized
	case http.StatusForbidden:
		return target == ErrDenied
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return target == ErrUnsupported
	}
	return false
}

// refused makes an error of an answer and closes it.
func refused(res *http.Response) *statusError {
	defer drain(res)
	e := &statusError{
		method: res.Request.Method, where: res.Request.URL.Host + res.Request.URL.Path, status: res.StatusCode,
		header: res.Header,
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody)) // the status says enough without it
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &answer) == nil {
		var texts []string
		for _, one := range answer.Errors[:min(len(answer.Errors), 3)] {
			texts = append(texts, strings.TrimSpace(one.Code+" "+one.Message))
		}
		e.text = printable(strings.Join(texts, "; "))
	}
	return e
}

// printable shortens a server's text and takes out what a terminal would act on.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}

// drain reads the little that may be left of an answer, so that its connection is used again, and closes it.
func drain(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, maxErrorBody) // nobody wants it
	res.Body.Close()
}

// permanentError is an error that another attempt would give again.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// notSetUp reports settings of this machine that keep a request from being sent. It hides what they lack: a
// file of certificates that is not there must not look like an image that is not there.
func notSetUp(what string, err error) error {
	return &permanentError{fmt.Errorf("%s: %s", what, err)} //nolint:errorlint // see above
}

// isMissing says whether a registry answered that it does not have something.
func isMissing(err error) bool {
	status, ok := statusOf(err)
	return ok && status == http.StatusNotFound
}

// mayPass says whether what failed can succeed at the next attempt.
func mayPass(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	var permanent *permanentError
	var unverified *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &permanent), errors.As(err, &unverified), errors.Is(err, http.ErrSchemeMismatch):
		return false
	case errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	if status, ok := statusOf(err); ok {
		switch status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return true
}

// statusOf returns the status of an answer that err reports, also of a server of tokens.
func statusOf(err error) (int, bool) {
	var own *statusError
	if errors.As(err, &own) {
		return own.status, true
	}
	var token *ggcr.Error
	if errors.As(err, &token) {
		return token.StatusCode, true
	}
	return 0, false
}

// tokenError gives a refusal by a server of tokens the class that a registry's own would have.
func tokenError(err error) error {
	var token *ggcr.Error
	if !errors.As(err, &token) {
		return err
	}
	class := &statusError{status: token.StatusCode}
	for _, sentinel := range []error{ErrUnauthorized, ErrDenied} {
		if class.Is(sentinel) {
			return fmt.Errorf("get a token: %w: %w", sentinel, err)
		}
	}
	return fmt.Errorf("get a token: %w", err)
}
