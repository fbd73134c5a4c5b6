package repository

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"

	"github.com/go-composefs/composefs/fsverity"
)

// stateName is the file that says how far a check was when it was interrupted: a line of JSON, and
// one with its SHA-256 in hexadecimal. Only a check that resumes reads it.
const stateName = "checkstate"

// scrubState is how far the reading of objects has come.
type scrubState struct {
	Next    int               `json:"next"`    // directory of objects to read next, 0 to 255
	Objects int               `json:"objects"` // that were read
	Bytes   int64             `json:"bytes"`   // of these
	Bad     []fsverity.Digest `json:"bad"`     // objects that had a problem
}

func parseState(data []byte) (scrubState, bool) {
	line, sum, _ := bytes.Cut(data, []byte("\n"))
	want := sha256.Sum256(line)
	var s scrubState
	if string(bytes.TrimSpace(sum)) != hex.EncodeToString(want[:]) || json.Unmarshal(line, &s) != nil {
		return scrubState{}, false
	}
	return s, s.Next >= 0 && s.Next <= 256
}

// checkState looks at what an interrupted check has left.
func (c *checker) checkState() error {
	data, err := fs.ReadFile(c.r.root.FS(), stateName)
	if gone(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if _, ok := parseState(data); err == nil && !ok {
		c.found(Problem{Kind: ProblemState, Path: stateName, Detail: "it is damaged, so that no check can be resumed by it"})
	}
	return err
}

// resume returns where to begin.
func (c *checker) resume() scrubState {
	if !c.opts.Resume {
		return scrubState{}
	}
	data, err := fs.ReadFile(c.r.root.FS(), stateName)
	if err != nil {
		return scrubState{} // it was finished
	}
	state, ok := parseState(data)
	if ok {
		c.result.Resumed, c.result.Read, c.result.Bytes = true, state.Objects, state.Bytes
	}
	return state
}

// stateAt is the state before a directory is read.
func (c *checker) stateAt(next int) scrubState {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := scrubState{Next: next, Objects: c.result.Read, Bytes: c.result.Bytes, Bad: []fsverity.Digest{}}
	for digest, i := range c.bad {
		if kind := c.result.Problems[i].Kind; kind == ProblemObject || kind == ProblemVerity {
			s.Bad = append(s.Bad, digest)
		}
	}
	slices.SortFunc(s.Bad, fsverity.Digest.Compare)
	return s
}

// saveState remembers how far it is, where it can be written.
func (c *checker) saveState(s scrubState) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(line)
	data := append(line, '\n')
	data = append(hex.AppendEncode(data, sum[:]), '\n')
	return c.mayWrite(func() error { return c.r.replaceFile(stateName, data) })
}

// removeState forgets an interrupted check: this one has read everything.
func (c *checker) removeState() error {
	return c.mayWrite(func() error {
		if err := c.r.root.Remove(stateName); !gone(err) {
			return err
		}
		return nil
	})
}

// mayWrite writes something, and passes over that it cannot: who checks another user's repository, or one
// that is read-only, does without.
func (c *checker) mayWrite(write func() error) error {
	err := c.r.writable()
	if err == nil {
		err = cannotWrite(write())
	}
	if errors.Is(err, ErrReadOnly) || errors.Is(err, ErrLegacy) {
		return nil
	}
	return err
}
