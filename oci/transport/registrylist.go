package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
)

// Bounds of lists, of which a registry gives one page after the other.
const (
	maxPages = 1000
	maxItems = 100_000
)

// document reads a whole answer of at most [manifest.MaxSize] bytes, again if it breaks.
func (e *endpoint) document(ctx context.Context, r request) ([]byte, http.Header, error) {
	for attempt := 1; ; attempt++ {
		res, err := e.do(ctx, r)
		if err != nil {
			return nil, nil, err
		}
		raw, err := io.ReadAll(io.LimitReader(res.Body, manifest.MaxSize+1))
		res.Body.Close()
		if len(raw) > manifest.MaxSize {
			return nil, nil, fmt.Errorf("%w: the answer has more than %d bytes", ErrLimit, manifest.MaxSize)
		}
		if err == nil {
			return raw, res.Header, nil
		}
		if attempt > e.retries || !mayPass(ctx, err) {
			return nil, nil, err
		}
		if err := e.wait(ctx, Event{Kind: EventRetry, Digest: r.digest, Attempt: attempt, Err: err}); err != nil {
			return nil, nil, err
		}
	}
}

// pages reads a list page by page (RFC 5988 links, as the distribution specification has them).
func (e *endpoint) pages(ctx context.Context, r request, add func(raw []byte, header http.Header) error) error {
	for range maxPages {
		raw, header, err := e.document(ctx, r)
		if err != nil {
			return err
		}
		at := r.url
		if at == nil {
			at = e.url(r.path, r.query)
		}
		if err := add(raw, header); err != nil {
			return err
		}
		next := nextPage(header.Get("Link"))
		if next == "" {
			return nil
		}
		if r.url, err = e.sameHost(at, next); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the list has more than %d pages", ErrLimit, maxPages)
}

// nextPage returns the target of a header such as <…?last=b>; rel="next".
func nextPage(link string) string {
	target, rest, ok := strings.Cut(strings.TrimSpace(link), ">")
	if !ok || !strings.HasPrefix(target, "<") {
		return ""
	}
	rel := strings.ReplaceAll(strings.ReplaceAll(rest, `"`, ""), " ", "")
	if !slices.Contains(strings.Split(rel, ";"), "rel=next") {
		return ""
	}
	return target[1:]
}

func (e *endpoint) tags(ctx context.Context) ([]string, error) {
	var tags []string
	err := e.pages(ctx, request{
		method: http.MethodGet, path: "tags/list", query: url.Values{"n": {"1000"}}, want: []int{http.StatusOK},
	}, func(raw []byte, _ http.Header) error {
		var page struct{ Tags []string }
		if err := json.Unmarshal(raw, &page); err != nil {
			return fmt.Errorf("parse the list: %w", err)
		}
		tags = append(tags, page.Tags...)
		if len(tags) > maxItems {
			return fmt.Errorf("%w: more than %d tags", ErrLimit, maxItems)
		}
		return nil
	})
	slices.Sort(tags)
	return slices.Compact(tags), err
}

// referrersTag is the tag under which those keep referrers that have to do without the API for it.
func referrersTag(d digest.Digest) string {
	return d.Algorithm().String() + "-" + d.Encoded()
}

// referrers lists referrers by the API, or by the tag that stands in for it.
func (e *endpoint) referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	r := request{
		method: http.MethodGet, path: "referrers/" + subject.String(), digest: subject, want: []int{http.StatusOK},
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
	}
	if artifactType != "" {
		r.query = url.Values{"artifactType": {artifactType}}
	}
	var list []ocispec.Descriptor
	err := e.pages(ctx, r, func(raw []byte, _ http.Header) error {
		var err error
		list, err = addReferrers(list, raw, artifactType)
		return err
	})
	if status, ok := statusOf(err); ok && !slices.Contains([]int{
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest,
	}, status) || err != nil && !ok && !errors.Is(err, manifest.ErrInvalid) {
		return nil, err
	}
	if err == nil {
		return list, nil
	}
	m, err := e.manifest(ctx, referrersTag(subject), "")
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return addReferrers(nil, m.Raw, artifactType)
}

// addReferrers appends the manifests of an index that are of a type, or do not say of which, for not every
// server chooses them itself.
func addReferrers(list []ocispec.Descriptor, raw []byte, artifactType string) ([]ocispec.Descriptor, error) {
	x, err := manifest.ParseIndex(raw)
	if err != nil {
		return nil, err
	}
	for _, d := range x.Manifests {
		if artifactType == "" || d.ArtifactType == artifactType || d.ArtifactType == "" {
			list = append(list, d)
		}
	}
	if len(list) > maxItems {
		return nil, fmt.Errorf("%w: more than %d referrers", ErrLimit, maxItems)
	}
	return list, nil
}
