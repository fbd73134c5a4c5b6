package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/repository"
)

// repoDoctorJSON is what doctor says about a repository.
type repoDoctorJSON struct {
	Path           string               `json:"path"`
	Algorithm      string               `json:"algorithm"`
	RequiresVerity bool                 `json:"requires_verity"`
	Stores         []string             `json:"stores,omitempty"`
	Images         []imageProtectedJSON `json:"images"`
}

// imageProtectedJSON is by what an image is verified, or why it is of no use.
type imageProtectedJSON struct {
	Name       string     `json:"name"`
	Protection protection `json:"protection,omitempty"`
	Problem    string     `json:"problem,omitempty"`
}

// openDoctored opens the repository that doctor is to look at: nil if there is none, unless --repo
// names it.
func (a *app) openDoctored(cmd *cobra.Command) (*repository.Repository, error) {
	r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
	if errors.Is(err, errNoRepository) && !cmd.Flags().Changed("repo") {
		return nil, nil //nolint:nilnil // a machine without one is as usual as one with it
	}
	return r, err
}

// diagnoseRepository looks into all images.
func diagnoseRepository(ctx context.Context, r *repository.Repository) (*repoDoctorJSON, error) {
	found := &repoDoctorJSON{
		Path: r.Path(), Algorithm: r.Algorithm().String(), RequiresVerity: r.RequiresVerity(),
		Stores: r.Stores(), Images: []imageProtectedJSON{},
	}
	images, err := describeImages(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		names := img.Names
		if len(names) == 0 {
			names = []string{img.Digest.String()}
		}
		for _, name := range names {
			found.Images = append(found.Images, imageProtectedJSON{name, img.Protection, img.Problem})
		}
	}
	return found, nil
}

// verdict sums up what protects the images.
func (d *repoDoctorJSON) verdict(kernelVerifies bool) []string {
	var lines []string
	kernel, reading, broken := 0, 0, 0
	for _, img := range d.Images {
		switch {
		case img.Problem != "":
			broken++
		case img.Protection == protectedByKernel:
			kernel++
		default:
			reading++
		}
	}
	switch {
	case d.RequiresVerity:
		lines = append(lines, "The repository requires fs-verity: what is mounted is verified by the kernel.")
	case reading == 0 && kernel > 0:
		lines = append(lines, "The repository does not require fs-verity, but all images have it: mount with --verity=require.")
	default:
		lines = append(lines, "The repository does not require fs-verity: `composefs fsck` finds wrong bytes, mounts show them.")
	}
	if d.RequiresVerity && !kernelVerifies {
		lines = append(lines, "But fs-verity is missing here, so that images of the repository cannot be mounted.")
	}
	if broken > 0 {
		lines = append(lines, fmt.Sprintf("%d of its images are of no use: `composefs fsck` tells more.", broken))
	}
	return lines
}

func (d *repoDoctorJSON) print(w *bufio.Writer, paint func(color, string) string) error {
	fmt.Fprintln(w, paint(bold, "Repository "+printable(d.Path)))
	verity := "not required"
	if d.RequiresVerity {
		verity = "required"
	}
	fmt.Fprintf(w, "  %s, fs-verity %s\n", d.Algorithm, verity)
	for _, store := range d.Stores {
		fmt.Fprintf(w, "  reads from %s as well\n", printable(store))
	}
	var rows [][]string
	for _, img := range d.Images {
		words := "protected by the kernel"
		switch {
		case img.Problem != "":
			words = "of no use: " + strings.ToValidUTF8(oneLine(img.Problem), "?")
		case img.Protection == protectedByReading:
			words = "protected by reading only"
		}
		rows = append(rows, []string{"  image " + printable(img.Name), words})
	}
	if len(rows) > 0 {
		if err := columns(w, rows); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	return nil
}

// openProbed opens the directory that doctor is to try: its argument, else the repository's.
func openProbed(args []string, r *repository.Repository) (*os.File, error) {
	var path string
	switch {
	case len(args) == 1:
		path = args[0]
	case r != nil:
		path = r.Path()
	default:
		return nil, nil //nolint:nilnil // then only the kernel is tried
	}
	dir, err := openNow(path)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat()
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: not a directory", path)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}
