package tardiff_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/go-composefs/composefs/oci/manifest"
	"github.com/go-composefs/composefs/oci/tardiff"
)

func blob(mediaType, content string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(content), Size: int64(len(content))}
}

const gzipLayer = "application/vnd.oci.image.layer.v1.tar+gzip"

// target returns the manifest and the configuration of an image with layers of these names.
func target(t testing.TB, layers ...string) (rawManifest, rawConfig string) {
	t.Helper()
	var diffIDs []digest.Digest
	m := map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest}
	var descriptors []ocispec.Descriptor
	for _, l := range layers {
		diffIDs = append(diffIDs, digest.FromString("tar of "+l))
		descriptors = append(descriptors, blob(gzipLayer, l))
	}
	config := text(t, map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	m["config"], m["layers"] = blob(ocispec.MediaTypeImageConfig, config), descriptors
	return text(t, m), config
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func artifact(t testing.TB) *tardiff.Artifact {
	t.Helper()
	rawManifest, rawConfig := target(t, "shared", "changed", "new")
	return &tardiff.Artifact{
		SourceConfig: digest.FromString("source config"), Source: digest.FromString("source"),
		Manifest: blob(ocispec.MediaTypeImageManifest, rawManifest), Config: blob(ocispec.MediaTypeImageConfig, rawConfig),
		Layers: []tardiff.ArtifactLayer{
			{To: digest.FromString("changed"), Blob: blob(tardiff.MediaType, "a delta")},
			{To: digest.FromString("new"), Blob: blob(gzipLayer, "new")},
		},
		Reused:      []tardiff.ReusedLayer{{Blob: digest.FromString("shared"), DiffID: digest.FromString("tar of shared")}},
		Annotations: map[string]string{"org.example": "kept"},
	}
}

func TestArtifactComesBack(t *testing.T) {
	want := artifact(t)
	raw, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := tardiff.ParseArtifact(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	m, err := manifest.ParseManifest(raw)
	if err != nil || !tardiff.IsArtifact(m) || m.Subject.Digest != want.Manifest.Digest || m.Config.Digest != digest.FromBytes(tardiff.EmptyConfig) || m.Config.Size != 2 {
		t.Errorf("%s, error %v", raw, err)
	}
	if again, err := got.Marshal(); err != nil || string(again) != string(raw) {
		t.Errorf("%s, error %v", again, err)
	}
}

// What oci-delta itself writes: without a media type, with a signature, and in the versions before reused diff ids.
func TestArtifactOfOciDelta(t *testing.T) {
	a := artifact(t)
	annotated := func(d ocispec.Descriptor, annotations ...string) ocispec.Descriptor {
		d.Annotations = map[string]string{}
		for i := 0; i < len(annotations); i += 2 {
			d.Annotations["io.github.containers.delta."+annotations[i]] = annotations[i+1]
		}
		return d
	}
	raw := text(t, map[string]any{
		"schemaVersion": 2, "artifactType": "application/vnd.io.github.containers.oci-delta.v1",
		"config": blob("application/vnd.oci.empty.v1+json", "{}"), "subject": a.Manifest,
		"layers": []ocispec.Descriptor{
			annotated(a.Manifest, "content", "image-manifest"), annotated(a.Config, "content", "image-config"),
			annotated(a.Layers[0].Blob, "content", "image-layer", "to", a.Layers[0].To.String()),
			annotated(blob(ocispec.MediaTypeImageManifest, "signature"), "content", "cosign-signature"),
			annotated(a.Layers[1].Blob, "content", "image-layer", "to", a.Layers[1].To.String()),
		},
		"annotations": map[string]string{
			"io.github.containers.delta.source": a.Source.String(), "io.github.containers.delta.source-config": a.SourceConfig.String(),
			"io.github.containers.delta.target": a.Manifest.Digest.String(), "io.github.containers.delta.reused": text(t, []digest.Digest{a.Reused[0].Blob}),
		},
	})
	got, err := tardiff.ParseArtifact([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	a.Reused[0].DiffID, a.Annotations = "", nil
	if diff := cmp.Diff(a, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostileArtifacts(t *testing.T) {
	raw, err := artifact(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	good := string(raw)
	changed, shared := digest.FromString("changed").String(), digest.FromString("shared").String()
	replace := func(old, fresh string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.ReplaceAll(good, old, fresh)
	}
	for name, test := range map[string]struct {
		raw  string
		want error
		text string
	}{
		"no JSON":               {"{", manifest.ErrInvalid, ""},
		"nothing":               {"", manifest.ErrInvalid, ""},
		"another type":          {replace("oci-delta.v1", "oci-delta.v2"), tardiff.ErrArtifact, "oci-delta.v2"},
		"no source":             {replace("delta.source-config", "delta.other"), tardiff.ErrArtifact, "source's configuration"},
		"source is no digest":   {replace(`"`+digest.FromString("source").String()+`"`, `"sha256:../../x"`), tardiff.ErrArtifact, "the source"},
		"no manifest":           {replace("image-manifest", "other"), tardiff.ErrArtifact, "no manifest"},
		"no configuration":      {replace("image-config", "other"), tardiff.ErrArtifact, "no configuration"},
		"two manifests":         {replace("image-config", "image-manifest"), tardiff.ErrArtifact, "second manifest"},
		"two configurations":    {replace("image-manifest", "image-config"), tardiff.ErrArtifact, "second configuration"},
		"a layer made twice":    {replace(digest.FromString("new").String(), changed), tardiff.ErrArtifact, "made twice"},
		"made and reused":       {replace(changed, shared), tardiff.ErrArtifact, "both reused and made"},
		"a layer of no target":  {replace("delta.to", "delta.from"), tardiff.ErrArtifact, "target of layer 0"},
		"a layer of other type": {replace(tardiff.MediaType, "application/vnd.tar-diff2"), tardiff.ErrArtifact, "tar-diff2"},
		"another target":        {replace(`"io.github.containers.delta.target":"sha256:`, `"io.github.containers.delta.target":"sha512:`), tardiff.ErrArtifact, "the target is"},
		"reused is no list":     {replace(`"[\"`+shared+`\"]"`, `"{}"`), tardiff.ErrArtifact, "annotation"},
		"reused is no digest":   {replace(`\"`+shared+`\"`, `\"x\"`), tardiff.ErrArtifact, "reused layer"},
		"more reused diff ids":  {replace(`\"`+shared+`\"`, ``), tardiff.ErrArtifact, "0 layers are reused"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tardiff.ParseArtifact([]byte(test.raw))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestArtifactsThatAreNotWritten(t *testing.T) {
	for name, change := range map[string]func(a *tardiff.Artifact){
		"no source":        func(a *tardiff.Artifact) { a.SourceConfig = "" },
		"no manifest":      func(a *tardiff.Artifact) { a.Manifest = ocispec.Descriptor{} },
		"a large manifest": func(a *tardiff.Artifact) { a.Manifest.Size = 1 << 40 },
		"a negative size":  func(a *tardiff.Artifact) { a.Layers[0].Blob.Size = -1 },
	} {
		a := artifact(t)
		change(a)
		if raw, err := a.Marshal(); !errors.Is(err, tardiff.ErrArtifact) {
			t.Errorf("%s: %s, error %v", name, raw, err)
		}
	}
}

func TestPlan(t *testing.T) {
	a := artifact(t)
	rawManifest, rawConfig := target(t, "shared", "changed", "new")
	plan, err := a.Plan([]byte(rawManifest), []byte(rawConfig))
	if err != nil {
		t.Fatal(err)
	}
	want := []tardiff.LayerPlan{
		{Layer: blob(gzipLayer, "shared"), DiffID: digest.FromString("tar of shared")},
		{Layer: blob(gzipLayer, "changed"), DiffID: digest.FromString("tar of changed"), Blob: &a.Layers[0].Blob},
		{Layer: blob(gzipLayer, "new"), DiffID: digest.FromString("tar of new"), Blob: &a.Layers[1].Blob},
	}
	if diff := cmp.Diff(want, plan); diff != "" {
		t.Error(diff)
	}
	if plan[0].IsDelta() || !plan[1].IsDelta() || plan[2].IsDelta() {
		t.Errorf("%+v", plan)
	}
	otherManifest, otherConfig := target(t, "shared", "changed")
	for name, test := range map[string][2]string{
		"another manifest":             {otherManifest, rawConfig},
		"another configuration":        {rawManifest, otherConfig},
		"a manifest with a bit more":   {rawManifest + " ", rawConfig},
		"a manifest of the same size":  {strings.Replace(rawManifest, "2", "3", 1), rawConfig},
		"a configuration without text": {rawManifest, ""},
	} {
		if _, err := a.Plan([]byte(test[0]), []byte(test[1])); !errors.Is(err, tardiff.ErrArtifact) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Documents that are what the artifact says, and do not belong together.
	a.Config = blob(ocispec.MediaTypeImageConfig, otherConfig)
	if _, err := a.Plan([]byte(rawManifest), []byte(otherConfig)); !errors.Is(err, tardiff.ErrArtifact) {
		t.Errorf("two images: %v", err)
	}
	// A manifest with fewer layers than its configuration has diff ids.
	var m ocispec.Manifest
	if err := json.Unmarshal([]byte(rawManifest), &m); err != nil {
		t.Fatal(err)
	}
	m.Layers = m.Layers[:2]
	fewer := text(t, m)
	a = artifact(t)
	a.Manifest = blob(ocispec.MediaTypeImageManifest, fewer)
	if _, err := a.Plan([]byte(fewer), []byte(rawConfig)); !errors.Is(err, tardiff.ErrArtifact) || !strings.Contains(err.Error(), "2 layers, and 3 diff ids") {
		t.Errorf("fewer layers: %v", err)
	}
}

// FuzzArtifact holds what is accepted to being written and read again.
func FuzzArtifact(f *testing.F) {
	raw, err := artifact(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	rawManifest, rawConfig := target(f, "shared", "changed", "new")
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := tardiff.ParseArtifact(raw)
		if err != nil {
			return
		}
		_, _ = a.Plan([]byte(rawManifest), []byte(rawConfig))
		again, err := a.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		b, err := tardiff.ParseArtifact(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Error(diff)
		}
	})
}
