package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

// layerJSON is one layer of `layers --json` and of `inspect`.
type layerJSON struct {
	Digest    string `json:"digest"`
	DiffID    string `json:"diff_id"`
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"`
	TarSize   uint64 `json:"tar_size"`
	Objects   int    `json:"objects"`
	Stream    string `json:"stream"`
	CreatedBy string `json:"created_by,omitempty"`
}

func (a *app) layersCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "layers NAME",
		Short: "list the layers of a container image",
		Long: `layers lists the layers of a container image, the lowest first: the diff_id, by which a layer is known here, the
size of its blob in the registry and of the tar in it, how many of its files are objects, and what made it.

"composefs cat-stream oci-layer-DIFF_ID" prints the tar, bit for bit.`,
		Example: `  composefs layers debian:12
  composefs cat-stream "oci-layer-$(composefs layers --json debian:12 | jq -r '.[0].diff_id')" | tar -tv`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			img, err := openContainer(cmd.Context(), r, args[0])
			if err != nil {
				return err
			}
			list, err := describeLayers(r, img)
			if err != nil {
				return err
			}
			return a.printLayers(list, asJSON)
		},
		ValidArgsFunction: a.completeContainers,
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func describeLayers(r *repository.Repository, img *oci.Image) ([]layerJSON, error) {
	by := createdBy(img)
	list := make([]layerJSON, 0, len(img.Layers))
	for i, l := range img.Layers {
		j := layerJSON{
			Digest: l.Digest.String(), DiffID: l.DiffID.String(), MediaType: l.MediaType, Size: l.Size, Stream: l.Stream,
		}
		if i < len(by) {
			j.CreatedBy = by[i]
		}
		s, err := r.OpenStream(l.Stream)
		if err != nil {
			return nil, err
		}
		j.TarSize, j.Objects = s.Size(), len(s.ObjectRefs())
		if err := s.Close(); err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

// createdBy returns what made each layer, as the config's history has it.
func createdBy(img *oci.Image) []string {
	var list []string
	for _, h := range img.Config.History {
		if !h.EmptyLayer {
			list = append(list, h.CreatedBy)
		}
	}
	return list
}

func (a *app) printLayers(list []layerJSON, asJSON bool) error {
	return a.result(func(w *bufio.Writer) error {
		if asJSON {
			out := jsonList{w: w}
			for _, l := range list {
				if err := out.add(l); err != nil {
					return err
				}
			}
			return out.end()
		}
		rows := [][]string{{"DIFF_ID", "BLOB", "TAR", "OBJECTS", "CREATED BY"}}
		for _, l := range list {
			rows = append(rows, []string{
				l.DiffID, bytesize.String(l.Size), bytesize.String(int64(l.TarSize)), fmt.Sprint(l.Objects), orDash(printable(shorten(l.CreatedBy, 60))),
			})
		}
		return columns(w, rows, 1, 2, 3)
	})
}

// shorten cuts a text that is too long for a column.
func shorten(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
