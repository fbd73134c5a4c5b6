package main

import (
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/go-composefs/composefs/internal/progress"
	"github.com/go-composefs/composefs/internal/version"
	"github.com/go-composefs/composefs/oci"
	"github.com/go-composefs/composefs/oci/transport"
)

// transportFlags say how registries are reached.
type transportFlags struct {
	plainHTTP bool
	noVerify  bool
	certDir   string
	retries   int
	progress  progress.Style
}

func (t *transportFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&t.plainHTTP, "plain-http", false, "speak HTTP without TLS to the registry")
	flags.BoolVar(&t.noVerify, "insecure-tls", false, "do not verify the registry's certificate; the image's digests are verified all the same")
	flags.StringVar(&t.certDir, "cert-dir", "", "`DIR` with certificates of authorities (*.crt) and of this client (*.cert, *.key)")
	flags.IntVar(&t.retries, "retries", 5, "how often to try again what may succeed then")
	_ = cobra.MarkFlagDirname(flags, "cert-dir") // just defined
	progressFlag(cmd, &t.progress)
}

func progressFlag(cmd *cobra.Command, to *progress.Style) {
	*to = progress.StyleAuto
	cmd.Flags().Var(to, "progress", "how to show progress: auto, plain, json or none")
	_ = cmd.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{"auto", "plain", "json", "none"}, cobra.ShellCompDirectiveNoFileComp))
}

// options returns what the flags say, with the machine's configuration of registries.
func (t *transportFlags) options(a *app) (transport.Options, error) {
	registries, err := transport.SystemRegistries()
	if err != nil {
		return transport.Options{}, err
	}
	opts := transport.Options{
		Registries: registries, CertDir: t.certDir, Retries: t.retries, UserAgent: "composefs/" + version.String(),
		Events: func(e transport.Event) {
			if t.progress != progress.StyleNone {
				a.remark("%s: %s at attempt %d: %v", e.Host, e.Kind, e.Attempt, e.Err)
			}
		},
	}
	if t.retries == 0 {
		opts.Retries = -1
	}
	if t.plainHTTP {
		opts.PlainHTTP = func(string) bool { return true }
	}
	if t.noVerify {
		opts.InsecureSkipVerify = func(string) bool { return true }
	}
	return opts, nil
}

// bars shows the progress of blobs.
type bars struct{ *progress.Bars }

func (a *app) startBars(style progress.Style) bars {
	if a.quiet {
		style = progress.StyleNone
	}
	return bars{progress.StartBars(a.err, style)}
}

func blobName(d digest.Digest) string { return d.Encoded()[:min(12, len(d.Encoded()))] }

// Begin, Add and End make bars an [oci.Progress].
func (b bars) Begin(d digest.Digest, size int64) { b.Bars.Begin(blobName(d), size) }

// Add see Begin.
func (b bars) Add(d digest.Digest, n int) { b.Bars.Add(blobName(d), n) }

// End see Begin.
func (b bars) End(d digest.Digest, how oci.Outcome) { b.Bars.End(blobName(d), string(how)) }

// parseReference reads a reference of a command line. What exists as a directory or file and has no
// transport is a mistake that is easily made.
func parseReference(word string) (transport.Reference, error) {
	ref, err := transport.Parse(word)
	if err != nil {
		return ref, usageError{err}
	}
	if ref.Transport() == transport.Docker && !strings.HasPrefix(word, transport.Docker+"://") {
		if info, err := os.Stat(word); err == nil {
			kind := "oci-archive"
			if info.IsDir() {
				kind = "oci"
			}
			return ref, usagef("%s is a file here, and a word without a transport is an image of a registry: want %s:%s or docker://%s", word, kind, word, word)
		}
	}
	return ref, nil
}
