package main

import (
	"bufio"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/repository"
)

// inspectJSON is the output of inspect.
type inspectJSON struct {
	Names     []string                   `json:"names"`
	Digest    string                     `json:"digest"`
	MediaType string                     `json:"media_type"`
	Artifact  bool                       `json:"artifact"`
	Sources   []string                   `json:"sources"`
	Composefs map[string]fsverity.Digest `json:"composefs"`
	Layers    []layerJSON                `json:"layers"`
	Referrers []string                   `json:"referrers"`
	Manifest  json.RawMessage            `json:"manifest"`
	Config    json.RawMessage            `json:"config"`
}

func (a *app) inspectCommand() *cobra.Command {
	var rawManifest, rawConfig bool
	cmd := &cobra.Command{
		Use:   "inspect NAME",
		Short: "print all there is to know of a container image",
		Long: `inspect prints, as JSON, what a container image is: its names and digests, where it was pulled from, its
composefs images, layers and signatures, and its manifest and config.`,
		Example: `  composefs inspect debian:12 | jq '.config.config.Env'
  composefs inspect --manifest debian:12 | sha256sum`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rawManifest && rawConfig {
				return usagef("--manifest and --config: want one of them")
			}
			r, err := a.openRepository(cmd, repository.Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			img, err := openContainer(cmd.Context(), r, args[0])
			if err != nil {
				return err
			}
			switch {
			case rawManifest:
				return a.printRaw(img.RawManifest)
			case rawConfig:
				return a.printRaw(img.RawConfig)
			}
			j, err := inspect(cmd, r, img)
			if err != nil {
				return err
			}
			return a.printJSON(j)
		},
		ValidArgsFunction: a.completeContainers,
	}
	cmd.Flags().BoolVar(&rawManifest, "manifest", false, "print the manifest, bit for bit")
	cmd.Flags().BoolVar(&rawConfig, "config", false, "print the config, bit for bit")
	return cmd
}

func inspect(cmd *cobra.Command, r *repository.Repository, img *oci.Image) (inspectJSON, error) {
	j := inspectJSON{
		Names: []string{}, Digest: img.Digest.String(), MediaType: img.MediaType, Artifact: img.Artifact,
		Sources: append([]string{}, img.Sources()...), Composefs: img.Rootfses(), Referrers: []string{},
		Manifest: img.RawManifest, Config: img.RawConfig,
	}
	list, err := oci.List(cmd.Context(), r)
	if err != nil {
		return j, err
	}
	for _, t := range list {
		if t.Digest == img.Digest {
			j.Names = append(j.Names, t.Tags...)
		}
	}
	for _, d := range img.Referrers() {
		j.Referrers = append(j.Referrers, d.String())
	}
	if !json.Valid(img.RawConfig) { // an artifact's can be anything
		if j.Config, err = json.Marshal(img.RawConfig); err != nil {
			return j, err
		}
	}
	j.Layers, err = describeLayers(r, img)
	return j, err
}

// printRaw prints bytes as they are.
func (a *app) printRaw(data []byte) error {
	return a.result(func(w *bufio.Writer) error {
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
		return nil
	})
}
