package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// All of these fail, or end, before anything is mounted. The texts are those that composefs
// 1.0.8 prints.
func TestMountCommandLines(t *testing.T) {
	inSampleDirectory(t)
	const usage = "usage: mount.composefs [-t type] [-o opt[,opts..]] IMAGE MOUNTPOINT\nExample:\n"
	const generic = "it knows none of the generic options"
	checkCommandLines(t, "mount.composefs", []commandLine{
		{args: "-h", says: usage},
		{args: "-h -x", says: usage},
		{args: "--help", differs: "it has no --help"},
		{args: "", exit: 1, says: "No source path specified\n" + usage},
		{args: "-o nosuid", exit: 1, says: "No source path specified\n"},
		{args: "good.img", exit: 1, says: "No mount path specified\n" + usage},
		{args: "-o nonsense good.img", exit: 1, says: "No mount path specified\n"},
		{args: "-x good.img d", exit: 1, says: "mount.composefs: invalid option -- 'x'\n" + usage},
		{args: "good.img d -o", exit: 1, says: "mount.composefs: option requires an argument -- 'o'\n" + usage},
		{args: "-t foo", exit: 1, says: "mount.composefs: Unsupported fs type 'foo'\n"},
		{args: "-t foo -x", exit: 1, says: "mount.composefs: Unsupported fs type 'foo'\n"},
		{args: "-x -t foo", exit: 1, says: "mount.composefs: invalid option -- 'x'\n"},

		{args: "good.img d", exit: 1, says: "No object dirs specified\n" + usage},
		{args: "-t composefs good.img d", exit: 1, says: "No object dirs specified\n"},
		{args: "-o ro good.img d", exit: 1, says: "No object dirs specified\n"},
		{args: "-o basedir good.img d", exit: 1, says: "mount.composefs: No value specified for basedir option\n"},
		{args: "-o basedir=store,digest good.img d", exit: 1, says: "No value specified for digest option\n"},
		{args: "-o basedir=store,upperdir good.img d", exit: 1, says: "No value specified for upperdir option\n"},
		{args: "-o basedir=store,workdir good.img d", exit: 1, says: "No value specified for workdir option\n"},
		{args: "-o basedir=store,idmap good.img d", exit: 1, says: "No value specified for idmap option\n"},
		{args: "-o basedir=store: good.img d", exit: 1, says: "Value for basedir option has incorrect format"},
		{args: "-o basedir=store::store good.img d", exit: 1, says: "Value for basedir option has incorrect format"},
		{args: "-o basedir=store,nonsense good.img d", exit: 1, says: "mount.composefs: Unsupported option nonsense\n"},
		{args: "-o basedir=store, good.img d", exit: 1, says: "mount.composefs: Unsupported option"},
		{args: "-o basedir=store,=x good.img d", exit: 1, says: "mount.composefs: Unsupported option"},
		{args: "-o basedir=store,upperdir=d good.img d", exit: 1, says: "Both workdir and upperdir must be specified if used\n"},
		{args: "-o basedir=store,workdir=d nonexistent d", exit: 1, says: "Both workdir and upperdir must be specified if used\n"},
		{args: "-o verity,idmap=nonexistent,basedir=store nonexistent d", exit: 1, says: "mount.composefs: Failed to open userns nonexistent: No such file or directory\n"},
		{args: "-o basedir=store nonexistent d", exit: 1, says: "mount.composefs: Failed to open nonexistent: No such file or directory\n"},
		{args: `-o basedir=store,nonsense\,x good.img d`, exit: 1, says: "Unsupported option nonsense"},

		{args: "-o basedir=nonexistent good.img d", exit: 1, says: "mount.composefs: Failed to mount composefs good.img: No such file or directory"},
		{args: "-f -o basedir=store good.img d", differs: "it knows no -f"},
		{args: "-sfnv -o rw,nosuid,x-a=b,unknown=1,basedir=store good.img d", differs: "it knows no -s"},
		{args: "-f -o nosuid,nodev,noexec,noatime,x-a=b,defaults,basedir=store good.img d", differs: generic},
		{args: "-f -o basedir=store -o ro good.img d", differs: "only the last -o counts"},
		{args: "-f -o unknown=1,basedir=store good.img d", exit: 1, says: "Unsupported option unknown", differs: "it knows no -f"},
		{args: "-N nonexistent -o basedir=store good.img d", exit: 1, says: "Failed to enter mount namespace nonexistent: No such file or directory", differs: "it knows no -N"},
	})
}

func TestSloppyDropsOnlyUnknownOptions(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"ro":                     "ro",
		"unknown":                "",
		"unknown,ro,other=1":     "ro",
		`other=a\,b,ro`:          "ro",
		`basedir=a\,b,x,digest=`: `basedir=a\,b,digest=`,
		"ro,,rw,":                "ro,rw",
		`ro,x\`:                  `ro,x\`,
	} {
		if diff := cmp.Diff(want, dropUnsupported(text)); diff != "" {
			t.Errorf("%q (-want +got)\n%s", text, diff)
		}
	}
}

func TestCommandLineForTheOtherNamespaceLacksTheNamespace(t *testing.T) {
	m := mountCommand{personality: personality{argv0: "mount.composefs"}}
	line := []string{"-N", "/proc/1/ns/mnt", "image", "-svo", "basedir=a", "-n", "-t", "composefs", "--", "-dir"}
	if exit, done := m.parse(line); done {
		t.Fatalf("exit %d", exit)
	}
	want := []string{"mount.composefs", "-s", "-v", "-o", "basedir=a", "--", "image", "-dir"}
	if diff := cmp.Diff(want, m.withoutNamespace); diff != "" || m.namespace != "/proc/1/ns/mnt" {
		t.Errorf("namespace %s (-want +got)\n%s", m.namespace, diff)
	}
}
