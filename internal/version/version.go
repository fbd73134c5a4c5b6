// Package version says which composefs this is.
package version

import "runtime/debug"

// version is set when the Makefile links the program:
// -ldflags "-X github.com/go-composefs/composefs/internal/version.version=v1.2.3".
var version string

// String returns the version in the form that git describe or Go's module system give it:
// what the linker was told, else what the toolchain recorded (the module's version, or the
// commit that was built), else "devel".
func String() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return fromBuildInfo(info)
}

func fromBuildInfo(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	switch {
	case revision == "":
		return "devel"
	case modified:
		return revision + "-dirty"
	}
	return revision
}
