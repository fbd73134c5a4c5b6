package main

import (
	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/repository"
)

// fsckJSON is the output of `fsck --json`.
type fsckJSON struct {
	OK       bool          `json:"ok"`
	Images   int           `json:"images"`
	Streams  int           `json:"streams"`
	Objects  int           `json:"objects"`
	Read     int           `json:"objects_read"`
	Bytes    int64         `json:"bytes_read"`
	Resumed  bool          `json:"resumed,omitempty"`
	Problems []problemJSON `json:"problems"`
}

type problemJSON struct {
	Kind        repository.ProblemKind `json:"kind"`
	Path        string                 `json:"path"`
	PathBase64  string                 `json:"path_base64,omitempty"`
	Object      fsverity.Digest        `json:"object,omitzero"`
	Detail      string                 `json:"detail"`
	NeededBy    []neederJSON           `json:"needed_by,omitempty"`
	Note        bool                   `json:"note,omitempty"`
	Mended      string                 `json:"mended,omitempty"`
	Quarantined string                 `json:"quarantined,omitempty"`
}

// neederJSON is an image or stream that needs an object, with the files whose content it is.
type neederJSON struct {
	Image  fsverity.Digest `json:"image,omitzero"`
	Stream string          `json:"stream,omitempty"`
	Names  []string        `json:"names"`
	Paths  []neededAtJSON  `json:"paths,omitempty"`
	More   int             `json:"more_paths,omitempty"`
}

type neededAtJSON struct {
	Path       string `json:"path"`
	PathBase64 string `json:"path_base64,omitempty"`
}

func newFsckJSON(found repository.Checked) fsckJSON {
	j := fsckJSON{
		OK: found.OK(), Images: found.Images, Streams: found.Streams, Objects: found.Objects,
		Read: found.Read, Bytes: found.Bytes, Resumed: found.Resumed, Problems: []problemJSON{},
	}
	for _, p := range found.Problems {
		q := problemJSON{
			Kind: p.Kind, Path: p.Path, PathBase64: inBase64(p.Path), Object: p.Object, Detail: p.Detail, Note: p.Note,
			Mended: p.Mended, Quarantined: p.Quarantined,
		}
		for _, n := range p.NeededBy {
			q.NeededBy = append(q.NeededBy, newNeederJSON(n))
		}
		j.Problems = append(j.Problems, q)
	}
	return j
}

func newNeederJSON(n repository.Needer) neederJSON {
	j := neederJSON{Image: n.Image, Stream: n.Stream, Names: append([]string{}, n.Names...), More: n.More}
	for _, path := range n.Paths {
		j.Paths = append(j.Paths, neededAtJSON{path, inBase64(path)})
	}
	return j
}
