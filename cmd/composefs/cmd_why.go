package main

import (
	"bufio"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/repository"
)

// whyJSON is the output of `why --json`.
type whyJSON struct {
	Digest   fsverity.Digest `json:"digest"`
	Size     int64           `json:"size"`
	Missing  bool            `json:"missing,omitempty"`
	NeededBy []neederJSON    `json:"needed_by"`
}

func (a *app) whyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why OBJECT",
		Short: "show which images and files need an object",
		Long: `why prints who needs an object: a line for each file of each image whose content it is, and for each stream.
OBJECT is a digest, or the beginning of one, or the object's path in the repository.

An image is an object too: then the image itself is printed, with its names.`,
		Example: `  composefs why 4e880de31a7e
  composefs why /var/lib/composefs/objects/4e/880de31a7ec3ca2f621c612cf6c6de411215e237f689d49d67e1718902d1d6`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer r.Close()
			digest, err := objectNamed(r, args[0])
			if err != nil {
				return err
			}
			found := whyJSON{Digest: digest, NeededBy: []neederJSON{}}
			info, err := r.StatObject(digest)
			switch {
			case errors.Is(err, repository.ErrNotFound):
				found.Missing = true
			case err != nil:
				return err
			default:
				found.Size = info.Size()
			}
			needers, err := r.NeededBy(cmd.Context(), digest)
			if err != nil {
				return err
			}
			if err := nameContainers(cmd.Context(), r, needers); err != nil {
				return err
			}
			for _, n := range needers {
				found.NeededBy = append(found.NeededBy, newNeederJSON(n))
			}
			if found.Missing && len(needers) == 0 {
				return fmt.Errorf("object %s: %w, and nothing needs it", digest, repository.ErrNotFound)
			}
			if asJSON {
				return a.printJSON(found)
			}
			return a.printWhy(found)
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// objectNamed returns the digest of the object that a word of the command line means.
func objectNamed(r *repository.Repository, word string) (fsverity.Digest, error) {
	hex := strings.ToLower(word)
	if dir, file := filepath.Split(filepath.Clean(word)); dir != "" {
		hex = filepath.Base(dir) + file // of a path
	}
	if digest, err := fsverity.ParseDigest(hex); err == nil {
		if digest.Hash() != r.Algorithm().Hash {
			return fsverity.Digest{}, usagef("%s: the repository's objects have %s digests", word, r.Algorithm().Hash)
		}
		return digest, nil
	}
	if !isDigestPrefix(hex) {
		return fsverity.Digest{}, usagef("%s: want a digest, at least 4 digits of one, or the path of an object", word)
	}
	return r.FindObject(hex)
}

func (a *app) printWhy(found whyJSON) error {
	if found.Missing {
		a.remark("it is missing: `composefs fsck --repair --from` may have it back")
	} else {
		a.remark("%s", bytesize.String(found.Size))
	}
	if len(found.NeededBy) == 0 {
		a.remark("no image or stream needs it: `composefs gc` removes it, unless a lease keeps it")
		return nil
	}
	return a.result(func(w *bufio.Writer) error { return columns(w, whyRows(found.NeededBy)) })
}

// whyRows says what the object is, for each who needs it.
func whyRows(needers []neederJSON) [][]string {
	var rows [][]string
	for _, n := range needers {
		id := n.Stream
		if id == "" {
			id = n.Image.String()[:shortDigestLen]
		}
		name := printable(id)
		if len(n.Names) > 0 {
			name = printable(strings.Join(n.Names, ", "))
		}
		switch {
		case n.Stream != "":
			rows = append(rows, []string{"stream", name, ""})
		case len(n.Paths) == 0:
			rows = append(rows, []string{"image", name, ""})
		}
		for _, p := range n.Paths {
			rows = append(rows, []string{"file", name, printable(p.Path)})
		}
	}
	return rows
}
