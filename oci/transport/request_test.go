package transport

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-composefs/composefs/internal/faultyregistry"
)

func TestRetryAfterIsUnderstood(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := map[string]struct {
		wait time.Duration
		ok   bool
	}{
		"7": {7 * time.Second, true}, "0": {0, true}, "": {}, "-1": {}, "soon": {}, "99999999999": {}, "1.5": {},
		now.Add(90 * time.Second).Format(http.TimeFormat): {90 * time.Second, true},
		now.Add(-time.Hour).Format(http.TimeFormat):       {0, true},
	}
	for text, test := range tests {
		err := fmt.Errorf("get: %w", &statusError{status: 429, header: http.Header{"Retry-After": {text}}})
		if wait, ok := retryAfter(err, now); wait != test.wait || ok != test.ok {
			t.Errorf("%q: %v %v", text, wait, ok)
		}
	}
	if _, ok := retryAfter(errors.New("another"), now); ok {
		t.Error("an error without an answer has a time")
	}
}

func TestDelayDoublesUpToItsBound(t *testing.T) {
	for attempt, seconds := range map[int]int{1: 1, 2: 2, 3: 4, 6: 30, 1000: 30} {
		most := time.Duration(seconds) * time.Second
		for range 100 {
			if d := delay(time.Second, attempt); d < most/2 || d > most {
				t.Errorf("attempt %d waits %v", attempt, d)
			}
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := startFaulty(t)
	i := makeImage(t, 1, 1000)
	ref := s.Host() + "/x:v1"
	put(t, ref, plainOptions(nil), i)
	s.Plan(faultyregistry.Rule{Times: 1, Fault: faultyregistry.Status(503, "Retry-After", "1")})
	var seen events
	begin := time.Now()
	checkImage(t, openSource(t, ref, plainOptions(&seen)), i)
	if took := time.Since(begin); took < time.Second || len(seen.list) != 1 || seen.list[0].Wait < time.Second {
		t.Errorf("after %v: %+v", took, seen.list)
	}
}
