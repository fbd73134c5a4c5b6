package linux

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMountInfo(t *testing.T) {
	const text = `22 27 0:21 / /proc rw,relatime - proc proc rw
36 35 98:0 /r\040oot /mnt\011x\134\012 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
40 35 0:40 / /m ro - overlay composefs:/a\040b\043c rw,lowerdir+=/,datadir+=/o\054b\040j,metacopy=on
41 35 0:41 / /n rw - tmpfs  rw
`
	want := []MountInfo{
		{
			ID: 22, Device: "0:21", Root: "/", MountPoint: "/proc", Options: []string{"rw", "relatime"},
			FSType: "proc", Source: "proc", SuperOptions: []string{"rw"},
		},
		{
			ID: 36, Device: "98:0", Root: "/r oot", MountPoint: "/mnt\tx\\\n", Options: []string{"rw", "noatime"},
			FSType: "ext3", Source: "/dev/root", SuperOptions: []string{"rw", "errors=continue"},
		},
		{
			ID: 40, Device: "0:40", Root: "/", MountPoint: "/m", Options: []string{"ro"}, FSType: "overlay",
			Source:       "composefs:/a b#c",
			SuperOptions: []string{"rw", "lowerdir+=/", "datadir+=/o,b j", "metacopy=on"},
		},
		{
			ID: 41, Device: "0:41", Root: "/", MountPoint: "/n", Options: []string{"rw"},
			FSType: "tmpfs", SuperOptions: []string{"rw"},
		},
	}
	got, err := ParseMountInfo(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseMountInfoRefusesOtherText(t *testing.T) {
	for _, text := range []string{"\n", "hello\n", "x 27 0:21 / /proc rw - proc proc rw\n", "22 27 0:21 / /proc - proc proc rw\n", "22 27 0:21 / /proc rw - proc\n"} {
		if got, err := ParseMountInfo(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestUnescapeOctal(t *testing.T) {
	for in, want := range map[string]string{
		`a`: "a", `\`: `\`, `\04`: `\04`, `\040`: " ", `\\040`: `\ `, `\999`: `\999`, `\777`: `\777`, `x\134134`: `x\134`,
	} {
		if got := unescapeOctal(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add("22 27 0:21 / /proc rw,relatime - proc proc rw\n")
	f.Add("40 35 0:40 / /m\\040x ro shared:1 - overlay composefs:/a\\043 rw,lowerdir+=/,datadir+=/o\\054b\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = ParseMountInfo(text)
	})
}
