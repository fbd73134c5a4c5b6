package mount

import (
	"strings"
	"testing"

	"github.com/go-composefs/composefs/fsverity"
)

func TestSourceTellsWhatWasMounted(t *testing.T) {
	digest, err := fsverity.ParseDigest(someDigest)
	if err != nil {
		t.Fatal(err)
	}
	long, err := fsverity.ParseDigest(someDigest + someDigest)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		image  string
		digest fsverity.Digest
		origin DigestOrigin
		want   string
	}{
		{"", fsverity.Digest{}, "", "composefs"},
		{"/srv/app.cfs", fsverity.Digest{}, "", "composefs:/srv/app.cfs"},
		{"/srv/app.cfs", digest, DigestMeasured, "composefs:/srv/app.cfs@" + someDigest},
		{"/srv/app.cfs", digest, DigestComputed, "composefs:/srv/app.cfs~" + someDigest},
		{"", long, DigestMeasured, "composefs:@" + someDigest + someDigest},
		{"/a@b~c%d\n\x7f é", fsverity.Digest{}, "", "composefs:/a%40b%7ec%25d%0a%7f é"},
		{"/x@" + someDigest, fsverity.Digest{}, "", "composefs:/x%40" + someDigest},
	}
	for _, test := range tests {
		got := formatSource(test.image, test.digest, test.origin)
		if got != test.want {
			t.Errorf("formatSource(%q) = %q, want %q", test.image, got, test.want)
		}
		image, digest, origin, ok := parseSource(got)
		if !ok || image != test.image || digest != test.digest || origin != test.origin {
			t.Errorf("parseSource(%q) = %q, %v, %q, %v", got, image, digest, origin, ok)
		}
	}
}

func TestSourceThatIsTooLongLeavesTheImageOut(t *testing.T) {
	digest, err := fsverity.ParseDigest(someDigest)
	if err != nil {
		t.Fatal(err)
	}
	fits := strings.Repeat("p", stringMax-len("composefs:@")-len(someDigest))
	if got := formatSource(fits, digest, DigestMeasured); len(got) != stringMax || !strings.Contains(got, fits) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := formatSource(fits+"p", digest, DigestMeasured); got != "composefs:@"+someDigest {
		t.Errorf("%q", got)
	}
	if got := formatSource(strings.Repeat("p", stringMax), fsverity.Digest{}, ""); got != "composefs" {
		t.Errorf("%q", got)
	}
}

func TestSourceOfOtherPrograms(t *testing.T) {
	tests := []struct {
		source, image string
		ok            bool
	}{
		{"composefs", "", true},
		{"composefs:sealed/name%zz%4", "sealed/name%zz%4", true},
		{"composefs:a@b", "a@b", true},
		{"composefsx", "", false},
		{"overlay", "", false},
		{"", "", false},
	}
	for _, test := range tests {
		image, digest, origin, ok := parseSource(test.source)
		if image != test.image || ok != test.ok || !digest.IsZero() || origin != "" {
			t.Errorf("parseSource(%q) = %q, %v, %q, %v", test.source, image, digest, origin, ok)
		}
	}
}
