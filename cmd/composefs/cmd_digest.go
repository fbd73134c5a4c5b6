package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/objects"
)

// digestJSON is one file of `digest --json`.
type digestJSON struct {
	File       string             `json:"file"`
	FileBase64 string             `json:"file_base64,omitempty"`
	Digest     fsverity.Digest    `json:"digest"`
	Algorithm  fsverity.Algorithm `json:"algorithm"`
	// Verity says that the kernel enforces the digest.
	Verity bool `json:"verity"`
}

func (a *app) digestCommand() *cobra.Command {
	hash, blockSize := fsverity.HashSHA256, 4096
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "digest FILE...",
		Short: "print fs-verity digests of files",
		Long: `digest prints the fs-verity digest of each file, one on a line: of an image, it is the digest to give
to "composefs mount --digest". The kernel is asked first, which knows it at once of files that have
fs-verity enabled; of others it is computed. A file that is not there may be an image of the repository.`,
		Example: `  composefs digest doc.cfs
  composefs digest --hash sha512 --block-size 65536 disk.raw`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			alg, err := algorithm(hash, blockSize)
			if err != nil {
				return err
			}
			return a.result(func(w *bufio.Writer) error {
				list := jsonList{w: w}
				for _, name := range args {
					found, err := a.digest(cmd, name, alg)
					if err != nil {
						return err
					}
					if !asJSON {
						fmt.Fprintln(w, found.Digest)
					} else if err := list.add(found); err != nil {
						return err
					}
				}
				if asJSON {
					return list.end()
				}
				return nil
			})
		},
	}
	hashFlag(cmd, &hash)
	cmd.Flags().IntVar(&blockSize, "block-size", blockSize, "size of the hash tree's blocks in `BYTES`: 4096 or 65536")
	imageFlags(a, cmd)
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// digest returns the digest of a file, or of an image of a repository.
func (a *app) digest(cmd *cobra.Command, name string, alg fsverity.Algorithm) (digestJSON, error) {
	if !isNamed(cmd, name) {
		f, err := openNow(name)
		if err != nil {
			return digestJSON{}, err
		}
		defer f.Close()
		return digestFile(cmd.Context(), f, name, alg)
	}
	img, err := a.openNamedImage(cmd, name)
	if err != nil {
		return digestJSON{}, err
	}
	defer img.Close()
	found, err := digestFile(cmd.Context(), img.file, name, img.repo.Algorithm())
	if err == nil && found.Digest != img.digest {
		err = fmt.Errorf("image %s: %w: its content has %s", img.digest, objects.ErrCorrupt, found.Digest)
	}
	return found, err
}

// algorithm puts together what options say apart.
func algorithm(hash fsverity.Hash, blockSize int) (fsverity.Algorithm, error) {
	for _, alg := range []fsverity.Algorithm{fsverity.SHA256, fsverity.SHA512, fsverity.SHA256x64, fsverity.SHA512x64} {
		if alg.Hash == hash && alg.BlockSize() == blockSize {
			return alg, nil
		}
	}
	return fsverity.Algorithm{}, usagef("block size %d: want 4096 or 65536", blockSize)
}

func digestFile(ctx context.Context, f *os.File, name string, alg fsverity.Algorithm) (digestJSON, error) {
	info, err := f.Stat()
	if err != nil {
		return digestJSON{}, err
	}
	if !info.Mode().IsRegular() {
		return digestJSON{}, fmt.Errorf("digest %s: not a regular file", name)
	}
	d, measured, err := fsverity.DigestFile(ctx, f, info.Size(), fsverity.FileOptions{Options: fsverity.Options{Algorithm: alg}})
	if err != nil {
		return digestJSON{}, fmt.Errorf("digest %s: %w", name, err)
	}
	return digestJSON{File: name, FileBase64: inBase64(name), Digest: d, Algorithm: alg, Verity: measured}, nil
}
