package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/repository"
)

// streamJSON is one stream of `streams --json`.
type streamJSON struct {
	ID      string          `json:"id"`
	Names   []string        `json:"names"`
	Digest  fsverity.Digest `json:"digest,omitzero"`
	Size    uint64          `json:"size"`
	Objects int             `json:"objects"`
	Problem string          `json:"problem,omitempty"`
}

func (a *app) streamsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "streams [rm NAME...]",
		Short: "list the streams of a repository",
		Long: `streams lists the streams of a repository: tar layers, manifests and configurations of container images,
of which large pieces are objects, and which cat-stream prints bit for bit. SIZE is that of the stream
as it is printed. If there is one that is of no use, streams ends with exit code 3.

"streams rm" takes names away from streams. One without any name goes with the next garbage collection,
unless a container image needs it.`,
		Example: `  composefs streams
  composefs cat-stream refs/debian:12 | tar -t
  composefs streams rm debian:12`,
		Args: wordOrNothing("rm", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			if len(args) > 0 {
				return removeStreamNames(cmd.Context(), r, args[1:])
			}
			infos, err := r.Streams()
			if err != nil {
				return err
			}
			list := make([]streamJSON, len(infos))
			problem := ""
			for i, info := range infos {
				list[i] = describeStream(r, info)
				if problem == "" {
					problem = list[i].Problem
				}
			}
			if err := a.printStreams(list, asJSON); err != nil {
				return err
			}
			if problem != "" {
				return corrupt(problem)
			}
			return nil
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func describeStream(r *repository.Repository, info repository.StreamInfo) streamJSON {
	j := streamJSON{ID: info.ID, Names: append([]string{}, info.Refs...), Digest: info.Digest}
	err := info.Err
	if err == nil {
		err = j.measure(r)
	}
	if err != nil {
		j.Problem = err.Error()
	}
	return j
}

// measure looks into the stream.
func (j *streamJSON) measure(r *repository.Repository) error {
	s, err := r.OpenStream(j.ID)
	if err != nil {
		return err
	}
	defer s.Close()
	j.Size = s.Size()
	for range s.References() {
		j.Objects++
	}
	return nil
}

func (a *app) printStreams(list []streamJSON, asJSON bool) error {
	return a.result(func(w *bufio.Writer) error {
		if asJSON {
			out := jsonList{w: w}
			for _, s := range list {
				if err := out.add(s); err != nil {
					return err
				}
			}
			return out.end()
		}
		if len(list) == 0 {
			return nil
		}
		rows := [][]string{{"ID", "SIZE", "OBJECTS", "NAMES"}}
		for _, s := range list {
			size, names := bytesize.String(int64(s.Size)), orDash(printable(strings.Join(s.Names, " ")))
			if s.Problem != "" {
				size, names = "-", "of no use: "+printable(oneLine(s.Problem))
			}
			rows = append(rows, []string{orDash(printable(s.ID)), size, fmt.Sprint(s.Objects), names})
		}
		return columns(w, rows, 1, 2)
	})
}

func removeStreamNames(ctx context.Context, r *repository.Repository, names []string) error {
	var errs []error
	for _, name := range names {
		err := r.UntagStream(ctx, strings.TrimPrefix(name, "refs/"))
		if errors.Is(err, repository.ErrNotFound) {
			err = fmt.Errorf("%s: no stream has this name in repository %s", name, r.Path())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
