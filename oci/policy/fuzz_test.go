package policy

import (
	"strings"
	"testing"
)

// A policy is read or refused; what is read decides about every image, and its scopes find themselves.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"default.action = \"reject\"\n",
		"[default]\naction = \"accept\"\nunsealed = false\n\n[image.\"a.example/b\"]\naction = \"reject\"\n",
		"[default]\naction = \"accept\"\n[image]\n\"*.example.org\" = { action = \"digest\", digests = [\"sha256:" + strings.Repeat("0", 64) + "\"] }\n\"oci:/srv\" = { action = \"reject\" }\n",
		"[default]\naction = \"accept\"\n[image.\"A.example:443/b:1\"]\naction = \"digest\"\ndigests = [\"fsverity-sha256-12:" + strings.Repeat("a", 64) + "\"]\n",
		"[default]\naction = \"signature\"\nsigners = [\"cn:x\"]\nsigned = [\"merged\"]\ncertificates = []\n",
		"[[image]]\n[default]\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "certificates") {
			return // they would be read from this machine
		}
		p, err := Parse(data, "/nowhere/policy.toml")
		if err != nil {
			return
		}
		for k, r := range p.rules {
			if got := p.For(reference{k.transport, []string{k.scope}}); got != r {
				t.Fatalf("scope %q of %v finds %v", r.Scope, k, got)
			}
			if _, err := r.Check(Evidence{}); (err == nil) != (r.Action == Accept && r.Unsealed) {
				t.Fatalf("%v: %v", r, err)
			}
		}
		if r := p.For(reference{"docker", []string{"\x00"}}); r == nil {
			t.Fatal("no rule for an image")
		}
	})
}
