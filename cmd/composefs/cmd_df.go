package main

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/repository"
)

// dfJSON is the output of `df --json`. All figures are bytes, unless they say otherwise.
type dfJSON struct {
	Images    []dfImageJSON `json:"images"`
	Files     int64         `json:"files"`
	Stored    int64         `json:"stored"`
	Objects   int           `json:"objects"`
	Elsewhere int64         `json:"elsewhere"`
	Streams   int           `json:"streams"`
	InStreams int64         `json:"in_streams"`
	Unneeded  int64         `json:"unneeded"`
}

type dfImageJSON struct {
	Digest    fsverity.Digest `json:"digest,omitzero"`
	Names     []string        `json:"names"`
	Files     int64           `json:"files"`
	ImageSize int64           `json:"image_size"`
	Objects   int             `json:"objects"`
	Stored    int64           `json:"stored"`
	Exclusive int64           `json:"exclusive"`
	InStreams int64           `json:"exclusive_in_streams"`
	Shared    []dfSharedJSON  `json:"shared"`
	Problem   string          `json:"problem,omitempty"`
}

type dfSharedJSON struct {
	Digest fsverity.Digest `json:"digest"`
	Names  []string        `json:"names"`
	Bytes  int64           `json:"bytes"`
}

func (a *app) dfCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "df",
		Short: "show what images hold, alone and together",
		Long: `df shows what a repository holds, in bytes of content: a line for each image, and sums.

  FILES      the image's files, as if nothing were shared
  STORED     the image and the objects that it needs, each once
  EXCLUSIVE  of these what no other image needs: this much goes with the image, unless a stream needs it too
  SHARED     with which other images it shares most, and how much

An image without a name is shown with the beginning of its digest. If there is one that is of no use, df ends
with exit code 3.`,
		Example: `  composefs df
  composefs df --json | jq '.images[] | {names, exclusive}'`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer r.Close()
			usage, err := r.Usage(cmd.Context())
			if err != nil {
				return err
			}
			names, err := containerNames(cmd.Context(), r)
			if err != nil {
				return err
			}
			for i := range usage.Images {
				img := &usage.Images[i]
				img.Refs = append(img.Refs, names[img.Digest]...)
			}
			if asJSON {
				err = a.printJSON(newDfJSON(usage))
			} else {
				err = a.printUsage(usage)
			}
			if err != nil {
				return err
			}
			for _, img := range usage.Images {
				if img.Err != nil {
					return corrupt(img.Err.Error())
				}
			}
			return nil
		},
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

func newDfJSON(u *repository.Usage) dfJSON {
	j := dfJSON{
		Images: []dfImageJSON{}, Files: u.Files, Stored: u.Stored, Objects: u.Objects, Elsewhere: u.Elsewhere,
		Streams: u.Streams, InStreams: u.InStreams, Unneeded: u.Unneeded,
	}
	for i, img := range u.Images {
		k := dfImageJSON{
			Digest: img.Digest, Names: append([]string{}, img.Refs...), Files: img.Files, ImageSize: img.Image,
			Objects: img.Objects, Stored: img.Image + img.Stored, Exclusive: img.Exclusive, InStreams: img.InStreams,
			Shared: []dfSharedJSON{},
		}
		if img.Err != nil {
			k.Problem = img.Err.Error()
		}
		for _, s := range sharers(u, i) {
			other := u.Images[s.image]
			k.Shared = append(k.Shared, dfSharedJSON{other.Digest, append([]string{}, other.Refs...), s.bytes})
		}
		j.Images = append(j.Images, k)
	}
	return j
}

// sharer is another image and how much it has in common with one.
type sharer struct {
	image int
	bytes int64
}

// sharers returns the images that share something with the i-th, those first that share most.
func sharers(u *repository.Usage, i int) []sharer {
	var list []sharer
	for k, bytes := range u.Shared[i] {
		if k != i && bytes > 0 {
			list = append(list, sharer{k, bytes})
		}
	}
	slices.SortStableFunc(list, func(a, b sharer) int { return cmp.Compare(b.bytes, a.bytes) })
	return list
}

func (a *app) printUsage(u *repository.Usage) error {
	rows := [][]string{{"IMAGE", "FILES", "STORED", "EXCLUSIVE", "SHARED"}}
	for i, img := range u.Images {
		if img.Err != nil {
			rows = append(rows, []string{imageLabel(img.ImageInfo), "-", "-", "-", "of no use: " + strings.ToValidUTF8(oneLine(img.Err.Error()), "?")})
			continue
		}
		rows = append(rows, []string{
			imageLabel(img.ImageInfo), bytesize.String(img.Files), bytesize.String(img.Image + img.Stored),
			bytesize.String(img.Exclusive), sharedText(u, i),
		})
	}
	return a.result(func(w *bufio.Writer) error {
		if len(u.Images) > 0 {
			if err := columns(w, rows, 1, 2, 3); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		return columns(w, usageSums(u), 1)
	})
}

// imageLabel names an image: by its first name, and how many more there are.
func imageLabel(img repository.ImageInfo) string {
	switch {
	case len(img.Refs) > 1:
		return printable(img.Refs[0]) + " (+" + strconv.Itoa(len(img.Refs)-1) + ")"
	case len(img.Refs) == 1:
		return printable(img.Refs[0])
	case img.Digest.IsZero():
		return "-"
	}
	return img.Digest.String()[:shortDigestLen]
}

// sharedText names the images with which one shares most.
func sharedText(u *repository.Usage, i int) string {
	const most = 3
	list := sharers(u, i)
	if len(list) == 0 {
		return "-"
	}
	var parts []string
	for _, s := range list[:min(most, len(list))] {
		parts = append(parts, imageLabel(u.Images[s.image].ImageInfo)+" "+bytesize.String(s.bytes))
	}
	if n := len(list) - most; n > 0 {
		parts = append(parts, fmt.Sprintf("%d more", n))
	}
	return strings.Join(parts, ", ")
}

func usageSums(u *repository.Usage) [][]string {
	stored := bytesize.String(u.Stored)
	saved := ""
	if u.Stored > 0 && u.Files > u.Stored {
		saved = fmt.Sprintf("; the files are %.1f times as much", float64(u.Files)/float64(u.Stored))
	}
	rows := [][]string{
		{"files of all images", bytesize.String(u.Files), ""},
		{"stored, each once", stored, "in " + counted(u.Objects, "object") + saved},
	}
	if u.Elsewhere > 0 {
		rows = append(rows, []string{"in other stores", bytesize.String(u.Elsewhere), ""})
	}
	if u.Streams > 0 {
		rows = append(rows, []string{"only for streams", bytesize.String(u.InStreams), "in " + counted(u.Streams, "stream")})
	}
	if u.Unneeded > 0 {
		rows = append(rows, []string{"not needed", bytesize.String(u.Unneeded), "for `composefs gc`"})
	}
	return rows
}
