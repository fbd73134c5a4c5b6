package policy

import (
	"os"
	"strings"
	"testing"
)

func TestPolicyInTheDocumentationIsRead(t *testing.T) {
	page, err := os.ReadFile("../../docs/seal.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "```toml\n")
	text, _, closed := strings.Cut(text, "```")
	if !ok || !closed {
		t.Fatal("no policy on the page")
	}
	dir := t.TempDir()
	newSigner(t, dir, "team-ca")
	p := parsePolicy(t, dir, text)
	if len(p.rules) != 4 || p.For(release).Action != Signature || p.Default.Action != Reject {
		t.Errorf("rules %v, for the release %v, default %v", p.rules, p.For(release), p.Default)
	}
}
