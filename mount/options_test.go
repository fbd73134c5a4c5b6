package mount

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/fsverity"
)

const someDigest = "5ceb20530731a1a1cea6a4badc2fabecc8b9f15481657e1eb8fab82d8b2f2268"

func TestParseOptions(t *testing.T) {
	digest, err := fsverity.ParseDigest(someDigest)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		text string
		want TextOptions
	}{
		{"", TextOptions{}},
		{"basedir=/a", TextOptions{Objects: []string{"/a"}}},
		{"basedir=/a:b", TextOptions{Objects: []string{"/a", "b"}}},
		{"basedir=/a,basedir=/b", TextOptions{Objects: []string{"/b"}}},
		{`basedir=/a\:1:/b\,2:/c\\3`, TextOptions{Objects: []string{"/a:1", "/b,2", `/c\3`}}},
		{`basedir=\/\a=b`, TextOptions{Objects: []string{"/a=b"}}},
		{"digest=" + someDigest, TextOptions{Digest: digest, Verity: VerityRequire}},
		{"digest=" + strings.ToUpper(someDigest), TextOptions{Digest: digest, Verity: VerityRequire}},
		{"noverity,digest=" + someDigest, TextOptions{Digest: digest}},
		{"noverity,verity", TextOptions{Verity: VerityRequire}},
		{"verity,noverity", TextOptions{}},
		{"verity", TextOptions{Verity: VerityRequire}},
		{"verity=whatever", TextOptions{Verity: VerityRequire}},
		{"tryverity", TextOptions{Verity: VerityTry}},
		{"verity,tryverity", TextOptions{Verity: VerityRequire}},
		{"tryverity,digest=" + someDigest, TextOptions{Digest: digest, Verity: VerityRequire}},
		{"upperdir=/u,workdir=/w,volatile", TextOptions{Upper: "/u", Work: "/w", Volatile: true}},
		{`upperdir=/u\,1,workdir=/w=:2`, TextOptions{Upper: "/u,1", Work: "/w=:2"}},
		{"idmap=/proc/1/ns/user", TextOptions{IDMap: "/proc/1/ns/user"}},
		{"ro", TextOptions{ReadOnly: true}},
		{"ro,rw", TextOptions{}},
		{"nosuid,nodev,noexec,noatime", TextOptions{Nosuid: true, Nodev: true, Noexec: true, Noatime: true}},
		{"nosuid,suid,nodev,dev,noexec,exec,noatime,atime", TextOptions{}},
		{"ro,nosuid,defaults", TextOptions{}},
		{"user,exec", TextOptions{Nosuid: true, Nodev: true}},
		{"owner", TextOptions{Nosuid: true, Nodev: true}},
		{"defaults,_netdev,nofail,noauto,relatime,x-systemd.automount,X-mount.mkdir=755,comment=hello", TextOptions{}},
	}
	for _, test := range tests {
		got, err := ParseOptions(test.text)
		if err != nil {
			t.Errorf("ParseOptions(%q): %v", test.text, err)
		} else if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" {
			t.Errorf("ParseOptions(%q) (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	tests := []struct{ text, message string }{
		{",", "Unsupported option "},
		{"ro,", "Unsupported option "},
		{"nonsense", "Unsupported option nonsense"},
		{"nonsense=3", "Unsupported option nonsense=3"},
		{"Verity", "Unsupported option Verity"},
		{`veri\ty`, `Unsupported option veri\ty`},
		{"basedir", "No value specified for basedir option"},
		{"digest", "No value specified for digest option"},
		{"digest=", "No value specified for digest option"},
		{"upperdir", "No value specified for upperdir option"},
		{"workdir=", "No value specified for workdir option"},
		{"idmap", "No value specified for idmap option"},
		{"basedir=:", "Value for basedir option has incorrect format"},
		{"basedir=/a::/b", "Value for basedir option has incorrect format"},
		{"basedir=/a:", "Value for basedir option has incorrect format"},
		{"digest=" + someDigest[1:], "Value for digest option has incorrect format"},
		{"digest=" + someDigest + "00", "Value for digest option has incorrect format"},
		{"digest=" + strings.Repeat("0", 130), "Value for digest option has incorrect format"},
		{"digest=" + someDigest[1:] + "x", "Value for digest option has incorrect format"},
		{"upperdir=/u", "Both workdir and upperdir must be specified if used"},
		{"workdir=/w", "Both workdir and upperdir must be specified if used"},
		{"volatile", "volatile needs upperdir"},
		{`basedir=/a\`, "ends in a backslash"},
	}
	for _, test := range tests {
		got, err := ParseOptions(test.text)
		var optionErr *OptionError
		if !errors.As(err, &optionErr) || !strings.Contains(err.Error(), test.message) {
			t.Errorf("ParseOptions(%q) = %+v, %v, want %q", test.text, got, err, test.message)
		}
	}
}

// FuzzParseOptions checks that what is accepted means the same when it is written out again
// with every character escaped that may be.
func FuzzParseOptions(f *testing.F) {
	for _, seed := range []string{
		"", "basedir=/a:/b,ro", `basedir=/a\:b\,c\\d,verity`, "digest=" + someDigest,
		"upperdir=/u,workdir=/w,volatile,idmap=/proc/1/ns/user", "nosuid,x-a=b,_netdev,user", `\`, "=,=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := ParseOptions(text)
		if err != nil {
			var optionErr *OptionError
			if !errors.As(err, &optionErr) {
				t.Fatalf("error of type %T: %v", err, err)
			}
			return
		}
		for _, dir := range parsed.Objects {
			if dir == "" {
				t.Fatal("empty object directory")
			}
		}
		written := writeOptions(parsed)
		again, err := ParseOptions(written)
		if err != nil {
			t.Fatalf("%q was read and written as %q: %v", text, written, err)
		}
		if diff := cmp.Diff(parsed, again, cmp.Comparer(func(a, b fsverity.Digest) bool { return a == b })); diff != "" {
			t.Fatalf("%q was read and written as %q (-first +second):\n%s", text, written, diff)
		}
	})
}

// writeOptions is ParseOptions backwards.
func writeOptions(o TextOptions) string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace
	var items []string
	if len(o.Objects) > 0 {
		var dirs []string
		for _, dir := range o.Objects {
			dirs = append(dirs, escape(dir))
		}
		items = append(items, "basedir="+strings.Join(dirs, ":"))
	}
	for _, value := range []struct{ key, value string }{
		{"digest", o.Digest.String()}, {"upperdir", o.Upper}, {"workdir", o.Work}, {"idmap", o.IDMap},
	} {
		if value.value != "" {
			items = append(items, value.key+"="+escape(value.value))
		}
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"verity", o.Verity == VerityRequire},
		{"tryverity", o.Verity == VerityTry},
		{"noverity", o.Verity == VerityOff},
		{"ro", o.ReadOnly},
		{"volatile", o.Volatile},
		{"nosuid", o.Nosuid},
		{"nodev", o.Nodev},
		{"noexec", o.Noexec},
		{"noatime", o.Noatime},
	} {
		if flag.set {
			items = append(items, flag.name)
		}
	}
	return strings.Join(items, ",")
}
