package version

import (
	"runtime/debug"
	"testing"
)

func TestFromBuildInfo(t *testing.T) {
	commit := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "4b281b1"}, {Key: "vcs.modified", Value: modified}}
	}
	tests := []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"module", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: commit("true")}, "v1.2.3"},
		{"commit", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: commit("false")}, "4b281b1"},
		{"changed commit", debug.BuildInfo{Settings: commit("true")}, "4b281b1-dirty"},
		{"nothing recorded", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := fromBuildInfo(&test.info); got != test.want {
				t.Errorf("version %q, want %q", got, test.want)
			}
		})
	}
}

func TestLinkedVersionWins(t *testing.T) {
	version = "v9.9.9"
	t.Cleanup(func() { version = "" })
	if got := String(); got != "v9.9.9" {
		t.Errorf("version %q, want what the linker set", got)
	}
}
