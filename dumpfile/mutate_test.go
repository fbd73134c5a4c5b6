package dumpfile_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-composefs/composefs/internal/treetest"
)

// mutator makes dumps that are nearly right.
type mutator struct{ *rand.Rand }

func (m mutator) pick(of ...string) string { return of[m.IntN(len(of))] }

// dump returns a dump of a few lines with a few mistakes, or none.
func (m mutator) dump(t *testing.T) string {
	root := treetest.Random(m.Rand, treetest.Options{Entries: 1 + m.IntN(12), Peer: true})
	lines := strings.SplitAfter(write(t, root), "\n")
	lines = lines[:len(lines)-1]
	if len(lines) > 2 && m.IntN(4) == 0 {
		m.Shuffle(len(lines)-1, func(i, j int) { lines[1+i], lines[1+j] = lines[1+j], lines[1+i] })
	}
	for range m.IntN(4) {
		lines = m.mutate(lines)
	}
	dump := strings.Join(lines, "")
	switch m.IntN(20) {
	case 0:
		dump = strings.TrimSuffix(dump, "\n")
	case 1:
		if len(dump) > 0 {
			dump = dump[:m.IntN(len(dump))]
		}
	}
	return dump
}

func (m mutator) mutate(lines []string) []string {
	if len(lines) == 0 {
		return lines
	}
	at := m.IntN(len(lines))
	line := strings.TrimSuffix(lines[at], "\n")
	switch m.IntN(10) {
	case 0:
		return slices.Delete(lines, at, at+1)
	case 1:
		return slices.Insert(lines, m.IntN(len(lines)+1), lines[at])
	case 2:
		return append(lines, m.link(lines))
	case 3:
		line = m.changeByte(line)
	case 4:
		line += " " + m.xattr()
	default:
		line = m.changeField(line)
	}
	lines[at] = line + "\n"
	return lines
}

// link returns the line of a hard link to the path of some line, maybe its own.
func (m mutator) link(lines []string) string {
	path := func() string {
		path, _, _ := strings.Cut(lines[m.IntN(len(lines))], " ")
		return strings.TrimSuffix(path, "\n") + m.pick("", "", "", "/", "x")
	}
	name := m.pick("/new", "new2", "//new3", path(), path()+"/new")
	return name + m.pick(" 0 @120000 - - - - 0.0 ", " 5 @100644 1 0 0 0 0.0 ", " x @40755 x x x x x ") +
		m.pick(path(), path(), path(), name, "/", "", "-", "//nowhere") + m.pick(" - -", "", " - - x") + "\n"
}

func (m mutator) changeByte(line string) string {
	b := []byte(line)
	at := m.IntN(len(b) + 1)
	c := m.pick(" ", "-", "\\", "=", "/", ".", "0", "@", "\t", "\r", "\n", "\x00", "\xff", "\\x", "\\x00", "\\n")
	if m.IntN(2) == 0 || at == len(b) {
		return string(b[:at]) + c + string(b[at:])
	}
	return string(b[:at]) + c[:m.IntN(len(c)+1)] + string(b[at+1:])
}

func (m mutator) xattr() string {
	return m.pick("user.a=b", "user.a=", "=", "", "user.a", "user.b=x=y", "user.\\x3d=\\x3d", "user.\\x00=x", "user.a=\\x00",
		"user.a=b user.a=ccccc", "user.a=ccccc user.a=b ", "trusted.overlay.opaque=x", strings.Repeat("n", 255)+"=",
		strings.Repeat("n", 256)+"=", "user.big="+strings.Repeat("v", 32767-12-7-8+m.IntN(3)-1),
		"user.a="+strings.Repeat("v", 65536-7-m.IntN(3)), "k=\\q", "k=\\")
}

func (m mutator) number() string {
	return m.pick("0", "1", "5", "64", "-1", "+7", "\t8", "4294967295", "4294967296", "18446744073709551615", "18446744073709551616",
		"99999999999999999999999", "-18446744073709551615", "00012", "0x12", "", "-", "+", "- 1", "+-1", "1e3", "9007199254740992",
		"9007199254740993", "x", "8", "1\\x30", "\xa01", "1 ")
}

// changeField puts something else in the place of one field.
func (m mutator) changeField(line string) string {
	fields := strings.Split(line, " ")
	at := m.IntN(min(len(fields), 12))
	digest := strings.Repeat("5a", 32)
	switch at {
	case 0:
		fields[0] = m.pick("/", "//", "", "/.", "/..", fields[0]+"/", "/"+fields[0], fields[0]+"/x", fields[0]+"/./x", "a", "/a//b", ".",
			"/"+strings.Repeat("n", 255), "/"+strings.Repeat("n", 256), "/-", "-", "\\x2f", "/\\x2e", "/a\\x2fb", "/n\\x00", "/\\", "/\\q", "/\xff")
	case 2:
		fields[2] = m.pick("100644", "40755", "120777", "20644", "60644", "10644", "140644", "644", "0", "@100644", "@40755", "@", "170644",
			"37777100644", "777100644", "+100644", "@@100644", "100648", "0100644", "-1", m.number())
	case 7:
		fields[7] = m.pick("1.1", "1", "1.", ".1", "1.1.1", "-1.5", "1.-5", "1.999999999", "1.1000000000", "1.4294967297", "+1.+1", "9223372036854775808.0",
			m.number()+"."+m.number())
	case 8:
		fields[8] = m.pick("-", "", "x", "/", "/x", "//x", "\\x2d", strings.Repeat("t", 4095), strings.Repeat("t", 4096), "x\\x00y", "\\", "5a/"+digest[2:],
			"5A/"+digest[2:])
	case 9:
		fields[9] = m.pick("-", "", "x", "abc", "\\x00", "\\x0", "\\x2d", "\\q")
	case 10:
		fields[10] = m.pick("-", "", digest, strings.ToUpper(digest), digest+"00", digest[:62], digest[:63]+"g", "-\r", "--", "\\x2d", digest+digest,
			digest[:60]+"\\x35a")
	case 11:
		fields[11] = m.xattr()
	default:
		fields[at] = m.number()
	}
	if m.IntN(8) == 0 {
		fields = fields[:at+1]
	}
	return strings.Join(fields, " ")
}
