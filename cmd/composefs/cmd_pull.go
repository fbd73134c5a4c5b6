package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/bytesize"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/transport"
	"github.com/go-composefs/composefs/repository"
)

const pullLong = `pull brings a container image into a repository, and makes a composefs image of it that "composefs mount"
takes by the same name. SOURCE is one of

  HOST/NAME[:TAG][@DIGEST]     an image of a registry, also docker://HOST/NAME; without HOST, of docker.io
  oci:DIR[:TAG]                a directory in the OCI image layout
  oci-archive:FILE[:TAG]       a tar of one
  docker-archive:FILE[:NAME]   what "docker save" writes
  containers-storage:NAME      an image that podman has

NAME is what the image is called here; without it that is what the source calls it.

Layers go straight into objects, several at a time; nothing is unpacked in between. Everything is compared
with its digest before the image gets its name: manifest, config, the blobs and the tars in them. Layers that
are here already, of whatever image, are not fetched, and files that are here are not stored again. A pull
that was interrupted goes on where it was, for a day.

Credentials are those that "podman login" and "docker login" have stored. Mirrors and blocked registries are
read from containers-registries.conf(5), certificates from containers-certs.d(5).`

const pullExample = `  composefs pull docker.io/library/debian:12
  composefs mount docker.io/library/debian:12 /mnt

  composefs pull quay.io/org/app:v1 app
  composefs pull --platform linux/arm64 debian:12 debian:arm
  composefs pull oci-archive:app.tar:v1 app`

// pullCommand is one command line of pull.
type pullCommand struct {
	transport transportFlags
	policy    string
	opts      oci.PullOptions
	platform  string
	json      bool
}

// pulledJSON is the output of `pull --json` and of `copy --json`.
type pulledJSON struct {
	Names     []string        `json:"names"`
	Manifest  string          `json:"manifest"`
	Index     string          `json:"index,omitempty"`
	Config    string          `json:"config"`
	Digest    fsverity.Digest `json:"digest,omitzero"`
	Boot      fsverity.Digest `json:"boot,omitzero"`
	Artifact  bool            `json:"artifact"`
	Unchanged bool            `json:"unchanged"`
	Approval  string          `json:"approval"`
	Kernel    string          `json:"kernel_signature,omitempty"`
	Layers    layerCountsJSON `json:"layers"`
	Fetched   int64           `json:"fetched"`
	Stored    storedJSON      `json:"stored"`
	Present   storedJSON      `json:"present"`
}

type layerCountsJSON struct {
	Fetched int `json:"fetched"`
	Present int `json:"present"`
}

type storedJSON struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (a *app) pullCommand() *cobra.Command {
	var c pullCommand
	cmd := &cobra.Command{
		Use:     "pull SOURCE [NAME...]",
		Short:   "bring a container image into a repository",
		Long:    pullLong,
		Example: pullExample,
		Args:    arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseReference(args[0])
			if err != nil {
				return err
			}
			if c.opts.Tags = args[1:]; len(c.opts.Tags) == 0 {
				c.opts.Tags = []string{defaultTag(ref)}
			}
			return a.runPull(cmd, &c, ref)
		},
	}
	c.transport.flags(cmd)
	policyFlag(cmd, &c.policy)
	c.flags(cmd)
	return cmd
}

// flags are those that copy has as well.
func (c *pullCommand) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.platform, "platform", "", "which image of an index: `OS/ARCH`, maybe with a variant (default: this machine's)")
	flags.BoolVar(&c.opts.AllPlatforms, "all-platforms", false, "bring in all images of an index; the name is that of the one for this machine, or for --platform")
	c.opts.Transform = oci.TransformCanonical
	flags.Var(&c.opts.Transform, "transform", "how layers become a tree: canonical, keep-user-xattrs or none")
	_ = cmd.RegisterFlagCompletionFunc("transform", cobra.FixedCompletions([]string{"canonical", "keep-user-xattrs", "none"}, cobra.ShellCompDirectiveNoFileComp))
	flags.BoolVar(&c.opts.Bootable, "bootable", false, "also make the image for booting: /boot and /sysroot empty, files labelled for SELinux")
	flags.IntVarP(&c.opts.Jobs, "jobs", "j", 4, "how many layers are brought in at a time")
	flags.Int64Var(&c.opts.Limits.LayerSize, "max-layer", 1<<40, "how many `BYTES` a layer's tar may have")
	flags.IntVar(&c.opts.Limits.MaxEntries, "max-entries", 16_000_000, "how many `ENTRIES` a layer may have")
	jsonFlag(flags, &c.json)
}

// defaultTag is what an image is called that nobody has named.
func defaultTag(ref transport.Reference) string { return ref.Familiar() }

// check completes the options.
func (c *pullCommand) check() error {
	for _, tag := range c.opts.Tags {
		if err := oci.CheckTag(tag); err != nil {
			return usageError{err}
		}
	}
	if c.platform == "" {
		return nil
	}
	p, err := manifest.ParsePlatform(c.platform)
	if err != nil {
		return usageError{err}
	}
	c.opts.Platform = &p
	return nil
}

func (a *app) runPull(cmd *cobra.Command, c *pullCommand, ref transport.Reference) error {
	if err := c.check(); err != nil {
		return err
	}
	opts, err := c.transport.options(a)
	if err != nil {
		return err
	}
	r, err := a.openRepository(cmd, repository.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	source, err := oci.OpenSource(cmd.Context(), ref, opts)
	if err != nil {
		return err
	}
	defer source.Close()
	policies, err := policy.Load(policy.DefaultOptions(c.policy))
	if err != nil {
		return err
	}
	c.opts.Name, c.opts.Rules = ref.String(), policies.For(ref)
	return a.pullFrom(cmd.Context(), r, c, source)
}

// pullFrom pulls from an open source.
func (a *app) pullFrom(ctx context.Context, r *repository.Repository, c *pullCommand, source transport.Source) error {
	if err := checkTags(r, c.opts.Tags); err != nil {
		return err
	}
	shown := a.startBars(c.transport.progress)
	c.opts.Progress = shown
	pulled, err := oci.Pull(ctx, r, source, c.opts)
	shown.Done()
	if err != nil {
		return fmt.Errorf("pull %s: %w", c.opts.Name, err)
	}
	return a.printPulled(c, pulled)
}

func (a *app) printPulled(c *pullCommand, p *oci.Pulled) error {
	s, verdict := p.Stats, verdictText(p.Verdicts)
	if c.json {
		j := pulledJSON{
			Names: c.opts.Tags, Manifest: p.Image.Digest.String(), Config: p.Image.Manifest.Config.Digest.String(),
			Digest: p.Rootfs, Boot: p.Boot, Artifact: p.Image.Artifact, Unchanged: p.Unchanged, Approval: verdict, Kernel: string(p.KernelSignature),
			Layers: layerCountsJSON{s.Layers, s.LayersPresent}, Fetched: s.Fetched,
			Stored: storedJSON{s.Objects, s.ObjectBytes}, Present: storedJSON{s.Present, s.PresentBytes},
		}
		if p.Index != nil {
			j.Index = p.Index.Digest.String()
		}
		return a.printJSON(j)
	}
	switch {
	case p.Unchanged:
		a.remark("%s: nothing has changed", p.Image.Digest)
	default:
		a.remark("%s: %s fetched (%s), %d here already; %s stored (%s), %d of the same files here already (%s)", p.Image.Digest,
			counted(s.Layers, "layer"), bytesize.String(s.Fetched), s.LayersPresent,
			counted(s.Objects, "object"), bytesize.String(s.ObjectBytes), s.Present, bytesize.String(s.PresentBytes))
	}
	a.remark("approval: %s%s", verdict, kernelText(p.KernelSignature))
	return a.result(func(w *bufio.Writer) error {
		if p.Image.Artifact {
			_, err := fmt.Fprintln(w, p.Image.Digest)
			return err
		}
		_, err := fmt.Fprintln(w, p.Rootfs)
		if err == nil && !p.Boot.IsZero() {
			_, err = fmt.Fprintln(w, p.Boot)
		}
		return err
	})
}

// kernelText is what is said of the signature that the kernel has, behind who signed.
func kernelText(k oci.KernelSignature) string {
	if k == "" {
		return ""
	}
	return "; signature for the kernel: " + string(k)
}

// checkTags refuses names that images have which are none of containers.
func checkTags(r *repository.Repository, tags []string) error {
	for _, tag := range tags {
		_, err := r.ResolveImage(tag)
		if err == nil {
			return fmt.Errorf("%s is the name of an image that is none of containers (`composefs rm` takes it away): %w", tag, repository.ErrName)
		}
		if !errors.Is(err, repository.ErrNotFound) && !errors.Is(err, repository.ErrName) {
			return err
		}
	}
	return nil
}
