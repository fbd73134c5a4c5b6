package policy

import (
	"testing"

	"github.com/go-composefs/composefs/oci/transport"
)

func TestNamesThatMeanTheSameRegistryHaveTheSameRule(t *testing.T) {
	p := parsePolicy(t, t.TempDir(), `
default.action = "accept"
[image]
"registry.example.com/team".action = "reject"
"docker.io/library".action = "reject"
"*.example.org".action = "reject"
"registry.example.com:5000".action = "reject"
"oci:/srv/images".action = "reject"
"docker-archive:".action = "reject"
"containers-storage:localhost/app".action = "reject"
`)
	for name, want := range map[string]string{
		"registry.example.com/team/app":            "registry.example.com/team",
		"docker://registry.example.com/team/app:1": "registry.example.com/team",
		"registry.example.com/team":                "registry.example.com/team",
		"Registry.Example.COM/team/app":            "registry.example.com/team",
		"registry.example.com:443/team/app":        "registry.example.com/team",
		"registry.example.com:5000/team/app":       "registry.example.com:5000",
		"registry.example.com/teams/app":           "",
		"debian":                                   "docker.io/library",
		"index.docker.io/library/debian:12":        "docker.io/library",
		"registry-1.docker.io/library/debian":      "docker.io/library",
		"docker.io/other/debian":                   "",
		"a.b.example.org:443/x":                    "*.example.org",
		"example.org/x":                            "",
		"oci:/srv/images/app:v1":                   "oci:/srv/images",
		"oci:/srv/../srv/images/":                  "oci:/srv/images",
		"oci:/srv/imagesx":                         "",
		"oci-archive:/srv/images/x":                "",
		"docker-archive:/srv/x.tar":                "docker-archive:",
		"containers-storage:localhost/app":         "containers-storage:localhost/app",
	} {
		ref, err := transport.Parse(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.For(ref).Scope; got != want {
			t.Errorf("%s: rule for %q, want %q", name, got, want)
		}
	}
}
