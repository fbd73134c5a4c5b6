package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
)

const sealLong = `seal computes the fs-verity digests of a container image's parts, manifest, config and trees, and keeps them with the
image, so that who trusts the seal knows what the kernel will enforce. sign does the same, and signs them.

The seal is an artifact beside the image, which stays as it is, and goes with it when it is pushed. With --inline
it is in the annotations of the manifest: that makes another image, which gets the name, or those of --as.`

const signLong = `sign seals a container image as "composefs seal" does, and signs the digests with a key: PKCS#7 signatures as the
kernel's fs-verity takes them. KEY and CERT are files in PEM, CERT with the certificates up to an authority, if
there is one. The passphrase of an encrypted key is asked for, or read from the file of --passphrase-file.`

// sealCommand is one command line of seal or sign.
type sealCommand struct {
	opts       oci.SealOptions
	as         []string
	key, cert  string
	passphrase string
	json       bool
}

// sealedJSON is the output of `seal --json` and `sign --json`.
type sealedJSON struct {
	Names    []string     `json:"names"`
	Manifest string       `json:"manifest"`
	Artifact string       `json:"artifact,omitempty"`
	Signed   bool         `json:"signed"`
	Kernel   string       `json:"kernel_signature,omitempty"`
	Digests  seal.Digests `json:"digests"`
}

func (a *app) sealCommand() *cobra.Command {
	var c sealCommand
	cmd := &cobra.Command{
		Use:     "seal NAME",
		Short:   "say by digests what a container image is",
		Long:    sealLong,
		Example: `  composefs seal app && composefs push app registry.example.com/app:v1`,
		Args:    arguments(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runSeal(cmd, &c, args[0]) },
	}
	c.flags(a, cmd)
	return cmd
}

func (a *app) signCommand() *cobra.Command {
	var c sealCommand
	cmd := &cobra.Command{
		Use:   "sign NAME --key KEY --cert CERT",
		Short: "sign a container image",
		Long:  signLong,
		Example: `  openssl req -x509 -newkey rsa:3072 -nodes -keyout key.pem -out cert.pem -subj /CN=release -days 365
  composefs sign --key key.pem --cert cert.pem app
  composefs verify --cert cert.pem app`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.key == "" || c.cert == "" {
				return usagef("--key and --cert are needed")
			}
			signer, err := seal.LoadSigner(c.key, c.cert, seal.LoadOptions{
				Passphrase: func() ([]byte, error) { return c.askPassphrase(a) },
				Warn:       func(hint string) { a.remark("note: %s", hint) },
			})
			if err != nil {
				return err
			}
			c.opts.Signer = signer
			return a.runSeal(cmd, &c, args[0])
		},
	}
	c.flags(a, cmd)
	flags := cmd.Flags()
	flags.StringVar(&c.key, "key", "", "`FILE` with the private key, in PEM")
	flags.StringVar(&c.cert, "cert", "", "`FILE` with the signer's certificate, in PEM")
	flags.StringVar(&c.passphrase, "passphrase-file", "", "`FILE` whose first line is the key's passphrase")
	return cmd
}

func (c *sealCommand) flags(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&c.opts.Inline, "inline", false, "put the seal into the manifest, which makes another image")
	flags.BoolVar(&c.opts.Bootable, "bootable", false, "also seal the tree for booting")
	flags.StringArrayVar(&c.as, "as", nil, "`NAME` of the image that is sealed inline (default: the name that was given)")
	jsonFlag(flags, &c.json)
	cmd.ValidArgsFunction = a.completeContainers
}

// askPassphrase reads the passphrase of the key.
func (c *sealCommand) askPassphrase(a *app) ([]byte, error) {
	if c.passphrase != "" {
		data, err := os.ReadFile(c.passphrase)
		line, _, _ := strings.Cut(string(data), "\n")
		return []byte(strings.TrimSuffix(line, "\r")), err
	}
	if !isTerminal(a.in) {
		return nil, usagef("the key is encrypted, and there is no terminal to ask for its passphrase: --passphrase-file gives it")
	}
	fmt.Fprintf(a.err, "passphrase of %s: ", c.key)
	line, err := term.ReadPassword(int(a.in.Fd()))
	fmt.Fprintln(a.err)
	return line, err
}

func (a *app) runSeal(cmd *cobra.Command, c *sealCommand, name string) error {
	if len(c.as) > 0 && !c.opts.Inline {
		return usagef("--as is for --inline: without it the image stays what it is")
	}
	r, err := a.openRepository(cmd, repository.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	img, err := openContainer(cmd.Context(), r, name)
	if err != nil {
		return err
	}
	if c.opts.Inline {
		if c.opts.Tags = c.as; len(c.as) == 0 {
			if oci.CheckTag(name) != nil || strings.HasPrefix(name, "sha256:") {
				return usagef("--as NAME is needed: the image sealed inline is another one than %s", name)
			}
			c.opts.Tags = []string{name}
		}
		if err := checkTags(r, c.opts.Tags); err != nil {
			return err
		}
	}
	sealed, err := oci.Seal(cmd.Context(), r, "@"+img.Digest.String(), c.opts)
	if err != nil {
		return err
	}
	if c.json {
		return a.printJSON(sealedJSON{
			Names: append([]string{}, c.opts.Tags...), Manifest: sealed.Image.Digest.String(), Artifact: sealed.Artifact.String(),
			Signed: sealed.Signed, Kernel: string(sealed.KernelSignature), Digests: sealed.Digests,
		})
	}
	if c.opts.Signer != nil {
		a.remark("signed by %s%s", c.opts.Signer.Identity().Subject, kernelText(sealed.KernelSignature))
	}
	return a.result(func(w *bufio.Writer) error {
		made := sealed.Artifact
		if c.opts.Inline {
			made = sealed.Image.Digest
		}
		_, err := fmt.Fprintln(w, made)
		return err
	})
}
