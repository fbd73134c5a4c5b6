package main

import (
	"encoding"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/go-composefs/composefs/fsverity"
)

// Options that several commands have are defined here, so that they are the same everywhere.

func jsonFlag(flags *pflag.FlagSet, to *bool) {
	flags.BoolVar(to, "json", false, "print JSON, in the shape that docs/json.md describes")
}

// storesFlag takes the stores to look for the objects of an image file in.
func storesFlag(flags *pflag.FlagSet) {
	flags.StringArray("store", nil, "`DIR` with the objects of the image; may be given several times, the first is searched first")
	_ = cobra.MarkFlagDirname(flags, "store") // just defined
}

// imageFlags are those of commands that take an image, which is a file or the name of one in a
// repository: see [app.openImage].
func imageFlags(a *app, cmd *cobra.Command) {
	repoFlag(cmd)
	cmd.ValidArgsFunction = a.completeImageOrFile
}

// textFlag is an option whose value is one of a few words.
func textFlag(cmd *cobra.Command, to textValue, name, usage string, words ...string) {
	cmd.Flags().Var(wordFlag{to}, name, usage)
	// The flag was just defined, so that nothing can fail.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

type textValue interface {
	encoding.TextUnmarshaler
	String() string
}

// wordFlag is a pflag.Value of a type that has a text form.
type wordFlag struct{ textValue }

func (f wordFlag) Set(s string) error { return f.UnmarshalText([]byte(s)) }
func (f wordFlag) Type() string       { return "WORD" }

// hashFlag chooses the hash of digests.
func hashFlag(cmd *cobra.Command, to *fsverity.Hash) {
	textFlag(cmd, (*hashName)(to), "hash", "hash function of digests: sha256 or sha512", "sha256", "sha512")
}

// hashName is the text form of a hash.
type hashName fsverity.Hash

func (h *hashName) UnmarshalText(text []byte) error {
	for _, known := range []fsverity.Hash{fsverity.HashSHA256, fsverity.HashSHA512} {
		if known.String() == string(text) {
			*h = hashName(known)
			return nil
		}
	}
	return fmt.Errorf("unknown hash %q: want sha256 or sha512", text)
}

func (h *hashName) String() string { return fsverity.Hash(*h).String() }

// digestFlag takes an fs-verity digest.
func digestFlag(flags *pflag.FlagSet, to *fsverity.Digest, name, usage string) {
	flags.TextVar(to, name, fsverity.Digest{}, usage)
}

// jobsFlag bounds what is done at a time.
func jobsFlag(flags *pflag.FlagSet, to *int) {
	flags.IntVarP(to, "jobs", "j", 0, "how many files are read at a time (default: one for each CPU)")
}
