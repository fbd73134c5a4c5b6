package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// attestation marks manifests that builders put beside the images of an index, with a platform
// that nothing has.
const attestation = "vnd.docker.reference.type"

// Select returns the descriptor in an index of the image for a platform. Of several that run there it is
// the one with the latest variant (a machine of arm/v7 runs v6), and of equal ones the first. A version of the
// operating system counts only if the platform has one: then the image's has to be the same up to the third
// number. If none fits, the error is [ErrPlatform] and lists what there is. An index of one image
// that has no platform is taken to mean it.
func Select(x ocispec.Index, platform ocispec.Platform) (ocispec.Descriptor, error) {
	platform = normalize(platform)
	var best *ocispec.Descriptor
	bestRank := -1
	for i := range x.Manifests {
		d := &x.Manifests[i]
		if d.Platform == nil || d.Annotations[attestation] != "" {
			continue
		}
		if rank := fit(normalize(*d.Platform), platform); rank > bestRank {
			best, bestRank = d, rank
		}
	}
	if best == nil && len(x.Manifests) == 1 && x.Manifests[0].Platform == nil {
		best = &x.Manifests[0]
	}
	if best == nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w %s: there %s", ErrPlatform, FormatPlatform(platform), listPlatforms(x))
	}
	return *best, nil
}

// Platforms returns the images of an index that have a platform, without the attestations of builders.
func Platforms(x ocispec.Index) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(x.Manifests), func(d ocispec.Descriptor) bool {
		return d.Platform == nil || d.Annotations[attestation] != "" || d.Platform.OS == "unknown"
	})
}

func listPlatforms(x ocispec.Index) string {
	var names []string
	for _, d := range Platforms(x) {
		names = append(names, FormatPlatform(*d.Platform))
		if len(names) == 32 {
			names = append(names, "…")
			break
		}
	}
	if len(names) == 0 {
		return "is none with a platform"
	}
	return "is " + strings.Join(names, ", ")
}

// fit says how well an image of a platform runs on another: -1 not at all, more is better.
func fit(image, machine ocispec.Platform) int {
	if image.OS != machine.OS || image.Architecture != machine.Architecture {
		return -1
	}
	if machine.OSVersion != "" && !sameVersion(image.OSVersion, machine.OSVersion) {
		return -1
	}
	for _, feature := range image.OSFeatures {
		if !slices.Contains(machine.OSFeatures, feature) {
			return -1
		}
	}
	if image.Variant == machine.Variant {
		return 1000
	}
	have, ok := variantNumber(image)
	limit, known := variantNumber(machine)
	if !ok || !known || have > limit {
		return -1
	}
	return have
}

// variantNumber orders the variants of an architecture, each of which runs what those before it run:
// amd64 of v1 to v4, arm of v5 to v8, arm64 of v8 to v9.5.
func variantNumber(p ocispec.Platform) (int, bool) {
	text := p.Variant
	switch {
	case text != "":
	case p.Architecture == "amd64":
		text = "v1"
	case p.Architecture == "arm64":
		text = "v8"
	default:
		return 0, false
	}
	switch p.Architecture {
	case "amd64", "arm", "arm64":
	default:
		return 0, false
	}
	major, minor, _ := strings.Cut(strings.TrimPrefix(text, "v"), ".")
	n, err := strconv.ParseUint(major, 10, 5)
	if err != nil {
		return 0, false
	}
	m, err := strconv.ParseUint("0"+minor, 10, 4)
	if err != nil {
		return 0, false
	}
	return int(n*16 + m), true
}

// sameVersion compares versions of Windows: images run where the first three numbers agree, the fourth
// counts updates.
func sameVersion(image, machine string) bool {
	first := func(s string) []string {
		parts := strings.Split(s, ".")
		return parts[:min(len(parts), 3)]
	}
	return slices.Equal(first(image), first(machine))
}
