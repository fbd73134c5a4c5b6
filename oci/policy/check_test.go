package policy

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/oci/seal"
)

func TestImagesAreHeldAgainstTheirRule(t *testing.T) {
	dir := t.TempDir()
	team := newSigner(t, dir, "team")
	other := newSigner(t, dir, "other")
	old := newSigner(t, dir, "old", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)
	})
	manifest, computed := image(t, "app")
	_, another := image(t, "another")
	withoutManifest := func(d seal.Digests) seal.Digests {
		d.Manifest = fsverity.Digest{}
		return d
	}
	// stripped is a seal without the signature of one part.
	stripped := func(p seal.Part) seal.Seal {
		s := sealed(t, computed, &team)
		switch p {
		case seal.Manifest:
			s.Signatures.Manifest = nil
		case seal.Config:
			s.Signatures.Config = nil
		case seal.Merged:
			s.Signatures.Merged = nil
		default:
			s.Signatures.Bootable = nil
		}
		return s
	}
	swapped := sealed(t, computed, &team)
	swapped.Signatures.Config, swapped.Signatures.Merged = swapped.Signatures.Merged, swapped.Signatures.Config

	const (
		byTeam  = "action = \"signature\"\ncertificates = [\"team.pem\"]\n"
		accept  = "action = \"accept\"\n"
		want256 = "fsverity-sha256-12:"
	)
	pin := func(texts ...string) string {
		return "action = \"digest\"\ndigests = [\"" + strings.Join(texts, "\", \"") + "\"]\n"
	}
	index := digest.FromString("index")
	tests := []struct {
		name     string
		rule     string
		evidence Evidence
		want     error // nil if it passes
		words    string
	}{
		{"accept, no seal", accept, Evidence{}, nil, ""},
		{"accept, own seal is right", accept, Evidence{Inline: []seal.Seal{sealed(t, withoutManifest(computed), nil)}}, nil, ""},
		{"accept, own seal is wrong", accept, Evidence{Inline: []seal.Seal{sealed(t, withoutManifest(another), nil)}}, seal.ErrWrongDigest, "its own seal"},
		{"accept, an artifact is wrong", accept, Evidence{Artifacts: []seal.Seal{sealed(t, another, nil)}}, nil, ""},
		{"accept, own seal under another algorithm", accept, Evidence{Inline: []seal.Seal{{Digests: seal.Digests{Algorithm: fsverity.SHA256, Merged: sum(t, fsverity.SHA256, "x")}}}}, nil, ""},

		{"seal wanted, none", accept + "unsealed = false", Evidence{}, seal.ErrMissing, "seal is missing"},
		{"seal wanted, inline", accept + "unsealed = false", Evidence{Inline: []seal.Seal{sealed(t, withoutManifest(computed), nil)}}, nil, ""},
		{"seal wanted, artifact", accept + "unsealed = false", Evidence{Artifacts: []seal.Seal{sealed(t, another, nil), sealed(t, computed, nil)}}, nil, ""},
		{"seal wanted, wrong artifact", accept + "unsealed = false", Evidence{Artifacts: []seal.Seal{sealed(t, another, nil)}}, seal.ErrWrongDigest, "verify merged"},
		{"seal wanted, other algorithm", accept + "unsealed = false", Evidence{Artifacts: []seal.Seal{{Digests: seal.Digests{Algorithm: fsverity.SHA256, Merged: sum(t, fsverity.SHA256, "x")}}}}, seal.ErrMissing, "fsverity-sha256-12"},

		{"reject", "action = \"reject\"\n", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, ErrRefused, "rejected"},

		{"digest of the manifest", pin(manifest.String()), Evidence{}, nil, ""},
		{"digest of the index", pin(index.String()), Evidence{}, nil, ""},
		{"digest of the tree", pin(want256+strings.Repeat("0", 64), "fsverity-sha512-12:"+computed.Merged.String()), Evidence{}, nil, ""},
		{"another digest", pin(digest.FromString("x").String()), Evidence{}, seal.ErrWrongDigest, manifest.String()},
		{"another tree", pin("fsverity-sha512-12:" + another.Merged.String()), Evidence{}, seal.ErrWrongDigest, "none of the 1"},
		{"digest and seal, no seal", pin(manifest.String()) + "unsealed = false", Evidence{}, seal.ErrMissing, "seal"},

		{"signed", byTeam, Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"signed inline", byTeam, Evidence{Inline: []seal.Seal{sealed(t, withoutManifest(computed), &team)}}, nil, ""},
		{"signed beside others", byTeam, Evidence{Artifacts: []seal.Seal{sealed(t, another, &team), sealed(t, computed, &other), sealed(t, computed, &team)}}, nil, ""},
		{"not sealed", byTeam, Evidence{}, seal.ErrMissing, "signature is missing"},
		{"sealed, not signed", byTeam, Evidence{Artifacts: []seal.Seal{sealed(t, computed, nil)}}, seal.ErrMissing, "signature"},
		{"signed by another", byTeam, Evidence{Artifacts: []seal.Seal{sealed(t, computed, &other)}}, seal.ErrUntrusted, "CN=other"},
		{"signed seal of another image", byTeam, Evidence{Artifacts: []seal.Seal{sealed(t, another, &team)}}, seal.ErrWrongDigest, ""},
		{"swapped signatures", byTeam, Evidence{Artifacts: []seal.Seal{swapped}}, seal.ErrWrongDigest, "it is the signature of merged"},
		{"manifest not signed", byTeam, Evidence{Artifacts: []seal.Seal{stripped(seal.Manifest)}}, seal.ErrMissing, "verify manifest"},
		{"config not signed", byTeam, Evidence{Artifacts: []seal.Seal{stripped(seal.Config)}}, seal.ErrMissing, "verify config"},
		{"tree not signed", byTeam, Evidence{Artifacts: []seal.Seal{stripped(seal.Merged)}}, seal.ErrMissing, "verify merged"},
		{"bootable tree not signed, not used", byTeam, Evidence{Artifacts: []seal.Seal{stripped(seal.Bootable)}}, nil, ""},
		{"bootable tree not signed, used", byTeam, Evidence{Boot: true, Artifacts: []seal.Seal{stripped(seal.Bootable)}}, seal.ErrMissing, "verify merged.bootable"},
		{"bootable tree used", byTeam, Evidence{Boot: true, Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"manifest wanted, inline", byTeam + "signed = [\"manifest\"]", Evidence{Inline: []seal.Seal{sealed(t, withoutManifest(computed), &team)}}, seal.ErrMissing, "verify manifest"},
		{"layers wanted", byTeam + "signed = [\"layer\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, seal.ErrMissing, "layers"},
		{"expired", strings.Replace(byTeam, "team", "old", 1), Evidence{Artifacts: []seal.Seal{sealed(t, computed, &old)}}, seal.ErrExpired, "ended 2026-03-01"},
		{"signed, own seal is wrong", byTeam, Evidence{Inline: []seal.Seal{sealed(t, withoutManifest(another), nil)}, Artifacts: []seal.Seal{sealed(t, computed, &team)}}, seal.ErrWrongDigest, "its own seal"},

		{"signer by name", byTeam + "signers = [\"cn:t*m\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"signer by subject", byTeam + "signers = [\"subject:CN=team,O=Example\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"signer by address", byTeam + "signers = [\"cn:x\", \"email:*@EXAMPLE.com\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"signer by certificate", byTeam + "signers = [\"sha256:" + team.Identity().Fingerprint + "\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"signer by another name", byTeam + "signers = [\"cn:tea\", \"dns:*\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, seal.ErrUntrusted, "cn:tea, dns:*"},

		{"signed and pinned", byTeam + "digests = [\"" + index.String() + "\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, nil, ""},
		{"signed and pinned to another", byTeam + "digests = [\"" + digest.FromString("x").String() + "\"]", Evidence{Artifacts: []seal.Seal{sealed(t, computed, &team)}}, seal.ErrWrongDigest, "none of the 1"},
		{"pinned and not signed", byTeam + "digests = [\"" + index.String() + "\"]", Evidence{}, seal.ErrMissing, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := parsePolicy(t, dir, "default.action = \"reject\"\n[image.\"registry.example.com/team\"]\n"+test.rule)
			e := test.evidence
			e.Digests = []digest.Digest{manifest, index}
			e.Computed = []seal.Digests{computed}
			e.Now = atNow
			verdicts, err := Policies{p}.For(release).Check(e)
			if test.want == nil {
				if err != nil || !verdicts[0].OK {
					t.Fatalf("refused: %v", err)
				}
				if strings.Contains(test.rule, "certificates") && (len(verdicts[0].Signers) != 1 || verdicts[0].Signers[0].Subject != "CN=team,O=Example") {
					t.Errorf("signers %v, want team", verdicts[0].Signers)
				}
				return
			}
			if !errors.Is(err, ErrRefused) || !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("error %v, want %v and %v with %q", err, ErrRefused, test.want, test.words)
			}
			if len(verdicts) != 1 || verdicts[0].OK || verdicts[0].Reason == "" {
				t.Errorf("verdicts %+v", verdicts)
			}
			if err != nil && !strings.Contains(err.Error(), "registry.example.com/team/app:1") {
				t.Errorf("error %q does not name the image", err)
			}
		})
	}
}

func TestEachReasonIsToldWhenNoSealIsGood(t *testing.T) {
	dir := t.TempDir()
	newSigner(t, dir, "team")
	other, third := newSigner(t, dir, "other"), newSigner(t, dir, "third")
	_, computed := image(t, "app")
	p := parsePolicy(t, dir, "[default]\naction = \"signature\"\ncertificates = [\"team.pem\"]\n")
	_, err := p.Default.Check(Evidence{
		Computed:  []seal.Digests{computed},
		Artifacts: []seal.Seal{sealed(t, computed, &other), sealed(t, computed, &third)},
		Now:       atNow,
	})
	if err == nil || !strings.Contains(err.Error(), "CN=other") || !strings.Contains(err.Error(), "CN=third") {
		t.Errorf("error %v, want both signers in it", err)
	}
}

func TestRefusedBeforeAnythingIsFetched(t *testing.T) {
	manifest, index := digest.FromString("manifest"), digest.FromString("index")
	dir := t.TempDir()
	newSigner(t, dir, "team")
	tests := []struct {
		name, rule string
		want       error
	}{
		{"accept", "action = \"accept\"", nil},
		{"reject", "action = \"reject\"", ErrRefused},
		{"its digest", "action = \"digest\"\ndigests = [\"" + manifest.String() + "\"]", nil},
		{"its index's digest", "action = \"digest\"\ndigests = [\"" + index.String() + "\"]", nil},
		{"another digest", "action = \"digest\"\ndigests = [\"" + digest.FromString("x").String() + "\"]", seal.ErrWrongDigest},
		{"another digest or a tree's", "action = \"digest\"\ndigests = [\"" + digest.FromString("x").String() + "\", \"fsverity-sha256-12:" + strings.Repeat("0", 64) + "\"]", nil},
		{"signature", "action = \"signature\"\ncertificates = [\"team.pem\"]", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rules := Policies{parsePolicy(t, dir, "[default]\n"+test.rule+"\n")}.For(release)
			err := rules.CheckManifest(manifest, index)
			if !errors.Is(err, test.want) || test.want != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestMostParticularScopeCounts(t *testing.T) {
	p := parsePolicy(t, t.TempDir(), `
default.action = "reject"
[image]
"docker:".action = "accept"
"*.com".action = "accept"
"*.example.com".action = "accept"
"Registry.Example.com:443".action = "accept"
"registry.example.com/team".action = "accept"
"registry.example.com/team/app".action = "accept"
"registry.example.com/team/app:2".action = "accept"
"oci:/srv".action = "accept"
"oci:/srv/images:name".action = "accept"
"repository:".action = "accept"
`)
	scopes := func(scopes ...string) reference { return reference{"docker", scopes} }
	tests := []struct {
		ref  reference
		want string
	}{
		{release, "registry.example.com/team/app"},
		{scopes(release.scopes[2:]...), "registry.example.com/team"},
		{scopes(release.scopes[3:]...), "Registry.Example.com:443"},
		{scopes("REGISTRY.example.com:443/team/app:2", "REGISTRY.example.com:443/team/app", "REGISTRY.example.com:443", "*.example.com:443"), "registry.example.com/team/app:2"},
		{scopes("registry.example.com./teams", "registry.example.com.", "*.example.com."), "Registry.Example.com:443"},
		{scopes("other.example.com:443/x", "other.example.com:443", "*.example.com:443", "*.com:443"), "*.example.com"},
		{scopes("example.com/x", "example.com", "*.com"), "*.com"},
		{scopes("example.org/x", "example.org", "*.org"), "docker:"},
		{reference{"oci", []string{"/srv/images:name", "/srv/images", "/srv"}}, "oci:/srv/images:name"},
		{reference{"oci", []string{"/srv/images:other", "/srv/images", "/srv"}}, "oci:/srv"},
		{reference{"oci", []string{"/home"}}, ""},
		{reference{"repository", []string{"app"}}, "repository:"},
		{reference{"oci-archive", []string{"/srv/x"}}, ""},
		{reference{"docker-archive", []string{"docker:"}}, ""},
	}
	for _, test := range tests {
		if got := p.For(test.ref).Scope; got != test.want {
			t.Errorf("%v: rule for %q, want %q", test.ref, got, test.want)
		}
	}
}

func TestStarsMatchAnyText(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "abc", true},
		{"a*", "abc", true},
		{"a*", "bc", false},
		{"*c", "abc", true},
		{"*c", "abcd", false},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"ab*bc", "abc", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"**", "x", true},
		{"a?c", "abc", false},
	} {
		if got := match(test.pattern, test.text); got != test.want {
			t.Errorf("%q matches %q: %v, want %v", test.pattern, test.text, got, test.want)
		}
	}
}

func TestVerdictAsJSON(t *testing.T) {
	dir := t.TempDir()
	team := newSigner(t, dir, "team")
	_, computed := image(t, "app")
	p := parsePolicy(t, dir, "[default]\naction = \"signature\"\ncertificates = [\"team.pem\"]\n")
	v, err := p.Default.Check(Evidence{Computed: []seal.Digests{computed}, Artifacts: []seal.Seal{sealed(t, computed, &team)}, Now: atNow})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Action  string
		OK      bool
		Signers []struct{ Subject string }
		Seal    struct {
			Algorithm string
			Parts     []struct{ Part, Digest, Signature string }
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, part := range got.Seal.Parts {
		parts = append(parts, part.Part+" "+part.Digest+" "+part.Signature)
	}
	want := []string{"manifest good good", "config good good", "merged good good", "merged.bootable good good"}
	if diff := cmp.Diff(want, parts); diff != "" || !got.OK || got.Action != "signature" || got.Seal.Algorithm != "fsverity-sha512-12" || got.Signers[0].Subject != "CN=team,O=Example" {
		t.Errorf("verdict %s\nparts (-want +got):\n%s", text, diff)
	}
}
