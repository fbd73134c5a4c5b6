package faultyregistry

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// content serves "0123456789", also in parts.
var content = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "x", time.Time{}, strings.NewReader("0123456789"))
})

// get returns status and body, with what went wrong while it was read.
func get(t *testing.T, s *Server, path, span string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if span != "" {
		req.Header.Set("Range", span)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func TestFaultsAreWhatTheySay(t *testing.T) {
	tests := map[string]struct {
		fault  Fault
		span   string
		status int
		body   string
		broken bool
	}{
		"none":         {status: 200, body: "0123456789"},
		"drop":         {fault: Drop(4), status: 200, body: "0123", broken: true},
		"refuse":       {fault: Refuse(), broken: true},
		"lost":         {fault: Lost(), broken: true},
		"short":        {fault: Short(4), status: 200, body: "0123"},
		"corrupt":      {fault: Corrupt(1), status: 200, body: "0d23456789"},
		"slow":         {fault: Slow(3, time.Millisecond), status: 200, body: "0123456789"},
		"status":       {fault: Status(503), status: 503, body: `{"errors":[{"code":"FAULT","message":"planned 503"}]}`},
		"ignore range": {fault: IgnoreRange(), span: "bytes=4-", status: 200, body: "0123456789"},
		"good range":   {span: "bytes=4-", status: 206, body: "456789"},
		"wrong range":  {fault: WrongRange(2), span: "bytes=4-", status: 206, body: "6789"},
		"lying range":  {fault: LieRange(2), span: "bytes=4-", status: 206, body: "6789\x00\x00"},
		"loop":         {fault: RedirectLoop(), broken: true},
		"answer":       {fault: Answer("text/plain", []byte("hello")), status: 200, body: "hello"},
		"endless":      {fault: Endless(3, "text/plain"), status: 200, body: "   "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(content)
			defer s.Close()
			if test.fault != nil {
				s.Plan(Rule{Fault: test.fault})
			}
			status, body, err := get(t, s, "/x", test.span)
			if status != test.status || body != test.body || (err != nil) != test.broken {
				t.Errorf("status %d, body %q, %v", status, body, err)
			}
		})
	}
}

func TestRulesAreUsedInOrderAndLogged(t *testing.T) {
	s := New(content)
	defer s.Close()
	s.Plan(Rule{Path: "/a", Skip: 1, Times: 1, Fault: Status(500)}, Rule{Path: "/a", Times: 1, Fault: Status(501)}, Rule{Path: "/b", Fault: Status(502)})
	var got []int
	for _, path := range []string{"/a", "/a", "/a", "/a", "/b", "/b", "/c"} {
		status, _, err := get(t, s, path, "")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, status)
	}
	want := []int{200, 500, 501, 200, 502, 502, 200}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	var logged []int
	for _, r := range s.Requests() {
		logged = append(logged, r.Status)
	}
	if diff := cmp.Diff(want, logged); diff != "" || s.Count("GET", "/a") != 4 || s.Count("PUT", "") != 0 {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	s.Reset()
	if status, _, err := get(t, s, "/b", ""); status != 200 || err != nil || len(s.Requests()) != 1 {
		t.Errorf("after a reset: %d, %v", status, err)
	}
}
