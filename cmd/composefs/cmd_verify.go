package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/policy"
	"github.com/go-composefs/composefs/oci/seal"
	"github.com/go-composefs/composefs/repository"
)

const verifyLong = `verify says whether a container image of the repository is what it should be, without asking anybody else:

  that manifest, config and the tars of the layers have the digests by which they are known, and that the composefs
  image is the one that the layers make, which reads everything (--quick leaves that out);
  that the image is what its seals say, and the signatures in them are of its digests;
  that it passes the policy for where it was pulled from.

--cert names certificates of signers or of authorities: the image's config and tree, and its manifest where a seal can
have that, must then be signed by somebody whom they vouch for. If anything is not as it should be, verify says why and ends with exit code 3.`

// verifyCommand is one command line of verify.
type verifyCommand struct {
	policy string
	certs  []string
	quick  bool
	boot   bool
	json   bool
}

// verifiedJSON is the output of `verify --json`.
type verifiedJSON struct {
	Names    []string          `json:"names"`
	OK       bool              `json:"ok"`
	Reason   string            `json:"reason,omitempty"`
	Manifest string            `json:"manifest"`
	Layers   int               `json:"layers_read"`
	Kernel   string            `json:"kernel_signature,omitempty"`
	Digests  seal.Digests      `json:"digests"`
	Seals    []*seal.Report    `json:"seals"`
	Verdicts []*policy.Verdict `json:"policies"`
}

func (a *app) verifyCommand() *cobra.Command {
	var c verifyCommand
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "say whether a container image is what it should be, and who signed it",
		Long:  verifyLong,
		Example: `  composefs verify app
  composefs verify --cert release.pem --json app | jq '.seals[].parts[] | {part, signer: .signer.subject}'`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runVerify(cmd, &c, args[0]) },

		ValidArgsFunction: a.completeContainers,
	}
	flags := cmd.Flags()
	policyFlag(cmd, &c.policy)
	flags.StringArrayVar(&c.certs, "cert", nil, "`FILE` with certificates, by somebody of whom the image must be signed")
	flags.BoolVar(&c.quick, "quick", false, "do not read the layers")
	flags.BoolVar(&c.boot, "bootable", false, "the tree for booting must be sealed and signed")
	jsonFlag(flags, &c.json)
	return cmd
}

func (a *app) runVerify(cmd *cobra.Command, c *verifyCommand, name string) error {
	r, err := a.openRepository(cmd, repository.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer r.Close()
	img, err := openContainer(cmd.Context(), r, name)
	if err != nil {
		return err
	}
	policies, err := policy.Load(policy.DefaultOptions(c.policy))
	if err != nil {
		return err
	}
	opts := oci.VerifyOptions{Rules: rulesFor(policies, name, img), Boot: c.boot, Data: !c.quick}
	if opts.Trust, err = c.trust(); err != nil {
		return err
	}
	v, err := oci.Verify(cmd.Context(), r, img, opts)
	if err != nil && cmd.Context().Err() != nil {
		return err
	}
	if c.json {
		j := verifiedJSON{
			Names: []string{name}, OK: err == nil, Manifest: img.Digest.String(), Layers: v.Layers, Kernel: string(v.KernelSignature), Digests: v.Digests,
			Seals: append([]*seal.Report{}, v.Seals...), Verdicts: append([]*policy.Verdict{}, v.Verdicts...),
		}
		if err != nil {
			j.Reason = err.Error()
		}
		if errPrint := a.printJSON(j); errPrint != nil {
			return errPrint
		}
		return err
	}
	if errPrint := a.printVerified(v); errPrint != nil {
		return errPrint
	}
	return err
}

// trust reads the certificates of the command line.
func (c *verifyCommand) trust() (*seal.Trust, error) {
	if len(c.certs) == 0 {
		return nil, nil //nolint:nilnil // nobody is asked for
	}
	trust := seal.NewTrust()
	for _, file := range c.certs {
		certs, err := seal.LoadCertificates(file)
		if err != nil {
			return nil, err
		}
		trust.Add(certs...)
	}
	return trust, nil
}

func (a *app) printVerified(v *oci.Verified) error {
	paint := a.painter(a.out)
	return a.result(func(w *bufio.Writer) error {
		fmt.Fprintf(w, "manifest %s\n", v.Image.Digest)
		if v.Layers > 0 {
			fmt.Fprintf(w, "%s read\n", counted(v.Layers, "layer"))
		}
		for _, report := range v.Seals {
			printSeal(w, paint, report)
		}
		if len(v.Seals) == 0 {
			fmt.Fprintln(w, "no seal")
		}
		if v.KernelSignature != "" {
			fmt.Fprintf(w, "signature for the kernel: %s\n", v.KernelSignature)
		}
		for _, verdict := range v.Verdicts {
			if verdict.File == "" {
				continue
			}
			if verdict.Seal != nil && len(verdict.Signers) > 0 {
				printSeal(w, paint, verdict.Seal)
			}
			text := paint(green, "kept")
			if !verdict.OK {
				text = paint(red, "not kept: "+printable(oneLine(verdict.Reason)))
			}
			fmt.Fprintf(w, "policy %s %s: %s\n", printable(verdict.File), printable(verdict.Scope), text)
		}
		return nil
	})
}

func printSeal(w io.Writer, paint func(color, string) string, report *seal.Report) {
	fmt.Fprintf(w, "seal (%v)\n", report.Algorithm)
	for _, part := range report.Parts {
		name := part.Part.String()
		if part.Layer != nil {
			name += fmt.Sprintf(" %d", *part.Layer)
		}
		text := string(part.Digest)
		if part.Signer != nil {
			text += ", signed by " + printable(part.Signer.Subject)
		} else if part.Signature == seal.Unchecked {
			text += ", a signature that was not checked"
		}
		c := green
		if part.Reason != "" {
			if part.Digest != "" {
				text = "digest " + text // it may be good, where the signature is not
			}
			text, c = strings.TrimSpace(text+": "+printable(oneLine(part.Reason))), red
		}
		fmt.Fprintf(w, "  %-16s %s\n", name, paint(c, text))
	}
}
