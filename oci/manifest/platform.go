package manifest

import (
	"fmt"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultPlatform returns the platform of images that this machine runs: Linux, and this
// program's architecture, with the oldest variant that it has.
func DefaultPlatform() ocispec.Platform {
	return normalize(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// ParsePlatform parses OS/ARCHITECTURE[/VARIANT], such as linux/arm64/v8. OS may be left out, and is then
// linux; it may have a version in parentheses, such as windows(10.0.17763)/amd64. The names that
// uname(1) has for architectures are taken too.
func ParsePlatform(s string) (ocispec.Platform, error) {
	bad := func(why string) (ocispec.Platform, error) {
		return ocispec.Platform{}, fmt.Errorf("parse platform %.100q: %s", s, why)
	}
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("/._-()+", c):
		default:
			return bad(fmt.Sprintf("it has a %q", c))
		}
	}
	parts := strings.Split(s, "/")
	if len(parts) > 3 {
		return bad("it has more than three parts")
	}
	for _, part := range parts {
		if part == "" {
			return bad("a part is empty")
		}
	}
	p := ocispec.Platform{OS: "linux"}
	if len(parts) == 1 {
		p.Architecture = parts[0]
		if architectures[strings.ToLower(parts[0])] == (architecture{}) {
			return bad("it is no architecture")
		}
		return normalize(p), nil
	}
	p.OS, p.Architecture = parts[0], parts[1]
	if name, version, ok := strings.Cut(p.OS, "("); ok {
		version, closed := strings.CutSuffix(version, ")")
		if name == "" || version == "" || !closed {
			return bad("the version of the operating system has no end")
		}
		p.OS, p.OSVersion = name, version
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return normalize(p), nil
}

// FormatPlatform returns the text that ParsePlatform takes for a platform.
func FormatPlatform(p ocispec.Platform) string {
	s := p.OS
	if p.OSVersion != "" {
		s += "(" + p.OSVersion + ")"
	}
	s += "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// architecture is an architecture and variant as image indexes name them, after Go.
type architecture struct{ name, variant string }

// architectures has every name of an architecture that is understood.
var architectures = map[string]architecture{
	"amd64": {"amd64", ""}, "x86_64": {"amd64", ""}, "x86-64": {"amd64", ""},
	"386": {"386", ""}, "i386": {"386", ""}, "i486": {"386", ""}, "i586": {"386", ""}, "i686": {"386", ""},
	"arm64": {"arm64", ""}, "aarch64": {"arm64", ""}, "arm": {"arm", "v7"}, "armhf": {"arm", "v7"},
	"armv7l": {"arm", "v7"}, "armel": {"arm", "v6"}, "armv6l": {"arm", "v6"}, "armv5l": {"arm", "v5"},
	"ppc64le": {"ppc64le", ""}, "ppc64": {"ppc64", ""}, "s390x": {"s390x", ""}, "riscv64": {"riscv64", ""},
	"loong64": {"loong64", ""}, "loongarch64": {"loong64", ""}, "mips64le": {"mips64le", ""},
	"mips64": {"mips64", ""}, "mips": {"mips", ""}, "mipsle": {"mipsle", ""}, "wasm": {"wasm", ""},
}

// normalize gives a platform the one name of several that it may have. The first variant of an
// architecture has no name, except of arm, where no variant stands for v7.
func normalize(p ocispec.Platform) ocispec.Platform {
	p.OS = strings.ToLower(p.OS)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	p.Variant = strings.ToLower(p.Variant)
	p.Architecture = strings.ToLower(p.Architecture)
	if a, ok := architectures[p.Architecture]; ok {
		p.Architecture = a.name
		if p.Variant == "" {
			p.Variant = a.variant
		}
	}
	switch p.Architecture {
	case "arm64":
		if p.Variant == "8" || p.Variant == "v8" || p.Variant == "v8.0" {
			p.Variant = ""
		}
	case "amd64":
		if p.Variant == "v1" {
			p.Variant = ""
		}
	case "arm":
		if len(p.Variant) == 1 {
			p.Variant = "v" + p.Variant
		}
	}
	return p
}
