package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUserCannotAskForLessThanTheSystem(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		write(t, name, []byte(text))
		return name
	}
	accept := file("accept.toml", "default.action = \"accept\"\n")
	reject := file("reject.toml", "default.action = \"reject\"\n")
	missing := filepath.Join(dir, "missing.toml")
	tests := []struct {
		name string
		opts LoadOptions
		want []string // files
		ok   bool     // whether an image passes
	}{
		{"nothing at all", LoadOptions{}, []string{""}, true},
		{"nothing there", LoadOptions{System: []string{missing}, User: missing}, []string{""}, true},
		{"only the system's", LoadOptions{System: []string{reject}, User: missing}, []string{reject}, false},
		{"the first of the system's", LoadOptions{System: []string{missing, accept, reject}}, []string{accept}, true},
		{"user accepts what the system rejects", LoadOptions{System: []string{reject}, User: accept}, []string{reject, accept}, false},
		{"option accepts what the system rejects", LoadOptions{System: []string{reject}, File: accept, User: accept}, []string{reject, accept}, false},
		{"user rejects what the system accepts", LoadOptions{System: []string{accept}, User: reject}, []string{accept, reject}, false},
		{"option instead of the user's", LoadOptions{System: []string{accept}, File: accept, User: reject}, []string{accept, accept}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all, err := Load(test.opts)
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, p := range all {
				files = append(files, p.File())
			}
			if diff := cmp.Diff(test.want, files); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
			_, err = all.For(release).Check(Evidence{})
			if (err == nil) != test.ok {
				t.Errorf("check: %v", err)
			}
		})
	}
}

func TestNothingPassesByHalfAPolicy(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.toml")
	write(t, good, []byte("default.action = \"accept\"\n"))
	broken := filepath.Join(dir, "broken.toml")
	write(t, broken, []byte("default.action = \"acept\"\n"))
	noCertificate := filepath.Join(dir, "nocert.toml")
	write(t, noCertificate, []byte("[default]\naction = \"signature\"\ncertificates = [\"missing.pem\"]\n"))
	open := filepath.Join(dir, "open.toml")
	write(t, open, []byte("default.action = \"accept\"\n"))
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.toml")
	tests := []struct {
		name string
		opts LoadOptions
		want error
	}{
		{"named and not there", LoadOptions{File: missing}, fs.ErrNotExist},
		{"system's is broken", LoadOptions{System: []string{broken}, File: good}, ErrSyntax},
		{"user's is broken", LoadOptions{System: []string{good}, User: broken}, ErrSyntax},
		{"certificate is not there", LoadOptions{System: []string{noCertificate}}, fs.ErrNotExist},
		{"user's certificate is not there", LoadOptions{User: noCertificate}, ErrSyntax},
		{"everybody can write it", LoadOptions{System: []string{open}}, ErrSyntax},
		{"a directory", LoadOptions{System: []string{dir}}, nil},
		{"nobody can tell whether it is there", LoadOptions{System: []string{good + "/policy.toml"}}, syscall.ENOTDIR},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Load(test.opts); err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestWhereTheUsersPolicyIs(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	t.Setenv("XDG_CONFIG_HOME", "/config")
	t.Setenv(Environment, "/from/environment")
	if got := DefaultOptions("/from/option"); got.File != "/from/option" {
		t.Errorf("with the option: %q", got.File)
	}
	if got := DefaultOptions(""); got.File != "/from/environment" {
		t.Errorf("with the environment: %q", got.File)
	}
	t.Setenv(Environment, "")
	got := DefaultOptions("")
	if got.File != "" || filepath.Base(got.User) != "policy.toml" || len(got.System) != 2 {
		t.Errorf("without both: %+v", got)
	}
}
