package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
)

func TestWholePolicyIsRead(t *testing.T) {
	dir := t.TempDir()
	newSigner(t, dir, "team")
	tree := sum(t, fsverity.SHA256, "tree")
	d := digest.FromString("manifest")
	p := parsePolicy(t, dir, `
# everything else
default.action = "reject"

[image."registry.example.com/team"]
action       = "signature"
certificates = ["team.pem"]
signers      = ["cn:team", "email:*@example.com"]
signed       = ["manifest", "config", "merged", "bootable", "layer"]
digests      = ["`+d.String()+`"]

[image."docker.io/library/debian:12"]
action  = "digest"
digests = ["`+d.String()+`", "fsverity-sha256-12:`+tree.String()+`"]
unsealed = false

[image]
"*.example.org" = { action = "accept", unsealed = false }
"oci:/srv/images" = { action = "accept" }
"containers-storage:".action = "accept"
`)
	file := dir + "/policy.toml"
	want := map[key]*Rule{
		{"docker", "registry.example.com/team"}: {
			File: file, Scope: "registry.example.com/team", Action: Signature, Manifests: []digest.Digest{d},
			Signers: []string{"cn:team", "email:*@example.com"},
			Signed:  []seal.Part{seal.Manifest, seal.Config, seal.Merged, seal.Bootable, seal.Layer},
		},
		{"docker", "docker.io/library/debian:12"}: {
			File: file, Scope: "docker.io/library/debian:12", Action: Digest,
			Manifests: []digest.Digest{d}, Trees: []TreeDigest{{fsverity.SHA256, tree}},
		},
		{"docker", "*.example.org"}: {File: file, Scope: "*.example.org", Action: Accept},
		{"oci", "/srv/images"}:      {File: file, Scope: "oci:/srv/images", Action: Accept, Unsealed: true},
		{"containers-storage", ""}:  {File: file, Scope: "containers-storage:", Action: Accept, Unsealed: true},
	}
	options := cmp.Options{cmpopts.IgnoreFields(Rule{}, "Trust"), cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })}
	if diff := cmp.Diff(want, p.rules, options); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Rule{File: file, Action: Reject, Unsealed: true}, p.Default, options); diff != "" {
		t.Errorf("default (-want +got):\n%s", diff)
	}
}

func TestFaultsAreToldWithTheirLine(t *testing.T) {
	dir := t.TempDir()
	newSigner(t, dir, "team")
	const accept = "default.action = \"accept\"\n"
	tests := []struct {
		name, text string
		want       string
	}{
		{"no TOML", "[default\n", "line "},
		{"no default", "[image.\"a.example/b\"]\naction = \"accept\"\n", "no [default]"},
		{"unknown field", "[default]\naction = \"accept\"\n\nactions = \"reject\"\n", "line 4: default.actions: unknown field"},
		{"unknown field of a scope", accept + "[image.\"a.example/b\"]\naction = \"accept\"\nsealed = true\n", `line 4: image."a.example/b".sealed: unknown field`},
		{"unknown table", accept + "[images.\"a.example\"]\naction = \"reject\"\n", "line 2: images"},
		{"unknown field in another case", "[default]\naction = \"reject\"\nAction = \"accept\"\n", "line 3: default.Action: unknown field"},
		{"known table in another case", accept + "[Image.\"a.example\"]\naction = \"reject\"\n", "line 2: Image"},
		{"dotted unknown field", accept + "image.\"a.example\".acton = \"reject\"\n", `line 2: image."a.example".acton: unknown field`},
		{"field in an inline table", accept + "[image]\n\"a.example\" = { action = \"reject\", x = 1 }\n", `line 3: image."a.example".x: unknown field`},
		{"no action", accept + "[image.\"a.example\"]\nunsealed = true\n", `line 2: image."a.example": no action`},
		{"unknown action", accept + "[image.\"a.example\"]\naction = \"allow\"\n", `line 3: image."a.example".action: action "allow" is none of`},
		{"wrong type", accept + "[image.\"a.example\"]\naction = 5\n", "line 3"},
		{"scope that is no table", accept + "[image]\n\"a.example\" = \"reject\"\n", "line 3"},
		{"array of tables", accept + "[[image.\"a.example\"]]\naction = \"reject\"\n", "line 2"},
		{"twice", accept + "[image.\"a.example\"]\naction = \"reject\"\n[image.\"a.example\"]\naction = \"accept\"\n", "line 4"},
		{"twice in another spelling", accept + "[image.\"a.example\"]\naction = \"reject\"\n[image.\"A.example:443\"]\naction = \"accept\"\n", `line 4: image."A.example:443": the same scope as "a.example"`},
		{"digest without digests", accept + "[image.\"a.example\"]\naction = \"digest\"\n", "line 2"},
		{"no digest", accept + "[image.\"a.example\"]\naction = \"digest\"\ndigests = [\n  \"sha256:00\"]\n", "line 4"},
		{"old digest", accept + "[image.\"a.example\"]\naction = \"digest\"\ndigests = [\"md5:d41d8cd98f00b204e9800998ecf8427e\"]\n", "line 4"},
		{"digest of another hash", accept + "[image.\"a.example\"]\naction = \"digest\"\ndigests = [\"fsverity-sha512-12:" + strings.Repeat("0", 64) + "\"]\n", "line 4"},
		{"signature without certificates", accept + "[image.\"a.example\"]\naction = \"signature\"\n", "line 2"},
		{"certificate that is not there", accept + "[image.\"a.example\"]\naction = \"signature\"\ncertificates = [\"other.pem\"]\n", "line 4"},
		{"policy as certificate", accept + "[image.\"a.example\"]\naction = \"signature\"\ncertificates = [\"/dev/null\"]\n", "line 4"},
		{"unknown part", accept + "[image.\"a.example\"]\naction = \"signature\"\ncertificates = [\"team.pem\"]\nsigned = [\"tree\"]\n", "line 5"},
		{"unknown kind of signer", accept + "[image.\"a.example\"]\naction = \"signature\"\ncertificates = [\"team.pem\"]\nsigners = [\"Somebody\"]\n", "line 5"},
		{"certificates that nobody looks at", accept + "[image.\"a.example\"]\naction = \"accept\"\ncertificates = [\"team.pem\"]\n", `line 4: image."a.example".certificates: it means nothing with action accept`},
		{"signed although unsealed", accept + "[image.\"a.example\"]\naction = \"signature\"\nunsealed = true\ncertificates = [\"team.pem\"]\n", "line 4"},
		{"name without a host", accept + "[image.\"debian\"]\naction = \"reject\"\n", "line 2"},
		{"relative path", accept + "[image.\"oci:images\"]\naction = \"reject\"\n", "line 2"},
		{"first of two faults", accept + "[image.\"z.example\"]\naction = \"x\"\n[image.\"a.example\"]\naction = \"y\"\n", "line 3"},
		{"deep", accept + "x = " + strings.Repeat("[", maxFile-100), "line "},
		{"too large", "#" + strings.Repeat("x", maxFile), "more than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text), dir+"/policy.toml")
			if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %v with %q", err, ErrSyntax, test.want)
			}
		})
	}
}

func TestScopesThatCouldMeanNothingAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "debian", "library/debian", "a.example/", "a.example//b", "a.example/B", "a.example/b:1:2", "*.example.com/b", "*",
		"a.*.example", "*a.example", "a.example/*", "a.example/b*", "*.", "oci:", "oci:x", "oci:/a/", "oci:/a/../b", "oci-archive:a.tar", "a b.example",
	} {
		k, err := parseScope(s)
		if (err == nil) != (s == "oci:") {
			t.Errorf("%q is scope %v, error %v", s, k, err)
		}
	}
}

func TestScopesHaveOneSpelling(t *testing.T) {
	for s, want := range map[string]key{
		"Registry.Example.com":                          {"docker", "registry.example.com"},
		"registry.example.com:443/x":                    {"docker", "registry.example.com/x"},
		"registry.example.com:80":                       {"docker", "registry.example.com"},
		"registry.example.com.:443/x":                   {"docker", "registry.example.com/x"},
		"registry.example.com:5000/x":                   {"docker", "registry.example.com:5000/x"},
		"docker://a.example/b:V1":                       {"docker", "a.example/b:V1"},
		"docker:":                                       {"docker", ""},
		"docker://":                                     {"docker", ""},
		"index.docker.io/library/x":                     {"docker", "docker.io/library/x"},
		"registry-1.docker.io":                          {"docker", "docker.io"},
		"localhost/x":                                   {"docker", "localhost/x"},
		"localhost:5000":                                {"docker", "localhost:5000"},
		"*.Example.com":                                 {"docker", "*.example.com"},
		"oci:/srv/Images":                               {"oci", "/srv/Images"},
		"containers-storage:a.example/b":                {"containers-storage", "a.example/b"},
		"a.example/b@sha256:" + strings.Repeat("a", 64): {"docker", "a.example/b@sha256:" + strings.Repeat("a", 64)},
	} {
		got, err := parseScope(s)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", s, got, err, want)
		}
	}
}
