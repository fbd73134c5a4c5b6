package mount

import (
	"strings"

	"github.com/go-composefs/composefs/fsverity"
)

// TextOptions are the options of the command mount.composefs, and so of mount(8) and
// /etc/fstab, with paths where [Options] has open files.
type TextOptions struct {
	Objects  []string // basedir=DIR[:DIR…]
	Digest   fsverity.Digest
	Verity   Verity
	Upper    string // upperdir=
	Work     string // workdir=
	IDMap    string // idmap=: file of a user namespace
	ReadOnly bool
	Volatile bool
	Nosuid   bool
	Nodev    bool
	Noexec   bool
	Noatime  bool
}

// OptionError reports a bad option in an option string.
type OptionError struct {
	Message string // as the C implementation says it where it has the same check
}

func (e *OptionError) Error() string { return e.Message }

// ParseOptions reads what stands behind -o. Options are separated by commas, the first = ends
// the key, and a backslash takes the next character as it is: a comma, a colon in basedir, or
// another backslash. A later option overrides an earlier one.
//
//	basedir=DIR:DIR…      object directories, in the order of search
//	digest=HEX            the image's digest; implies verity
//	verity                VerityRequire
//	tryverity             VerityTry, unless verity or digest is there too
//	noverity              VerityOff, also for files if only digest is given
//	upperdir=, workdir=   both or neither
//	idmap=FILE            user namespace
//	volatile              no syncs to upperdir
//	ro, rw, (no)suid, (no)dev, (no)exec, (no)atime, defaults
//
// What mount(8) and fstab(5) have for other readers is accepted and ignored: x-*, X-*,
// comment=*, _netdev, nofail, auto, noauto, and the options about access times and syncing
// that mean nothing here. user, users, owner and group imply what mount(8) says they imply.
// Errors are of type [*OptionError]. The empty string has no options.
func ParseOptions(s string) (TextOptions, error) {
	var p optionParser
	if s == "" {
		return p.TextOptions, nil
	}
	items, err := splitEscaped(s, ',')
	if err != nil {
		return TextOptions{}, err
	}
	for _, item := range items {
		if err := p.add(item); err != nil {
			return TextOptions{}, err
		}
	}
	if (p.Upper == "") != (p.Work == "") {
		return TextOptions{}, &OptionError{"Both workdir and upperdir must be specified if used"}
	}
	if p.Volatile && p.Upper == "" {
		return TextOptions{}, &OptionError{"Option volatile needs upperdir"}
	}
	if !p.Digest.IsZero() && !p.noverity {
		p.Verity = VerityRequire
	}
	return p.TextOptions, nil
}

type optionParser struct {
	TextOptions
	noverity bool // said in so many words
}

func (p *optionParser) add(item string) error {
	key, value, hasValue := strings.Cut(item, "=")
	switch key {
	case "basedir", "digest", "upperdir", "workdir", "idmap":
		if !hasValue || value == "" {
			return &OptionError{"No value specified for " + key + " option"}
		}
		return p.addValue(key, value)
	case "verity":
		p.Verity, p.noverity = VerityRequire, false
	case "tryverity":
		p.Verity, p.noverity = max(p.Verity, VerityTry), false
	case "noverity":
		p.Verity, p.noverity = VerityOff, true
	case "volatile":
		p.Volatile = true
	default:
		if !p.addGeneric(key) {
			return &OptionError{"Unsupported option " + item}
		}
	}
	return nil
}

func (p *optionParser) addValue(key, value string) error {
	malformed := func(reason string) error {
		return &OptionError{"Value for " + key + " option has incorrect format: " + reason}
	}
	if key == "basedir" {
		dirs, err := splitEscaped(value, ':')
		if err != nil {
			return err
		}
		p.Objects = nil
		for _, dir := range dirs {
			if dir == "" {
				return malformed("empty directory name")
			}
			p.Objects = append(p.Objects, unescape(dir))
		}
		return nil
	}
	value = unescape(value)
	switch key {
	case "digest":
		d, err := fsverity.ParseDigest(value)
		if err != nil {
			return malformed(err.Error())
		}
		p.Digest = d
	case "upperdir":
		p.Upper = value
	case "workdir":
		p.Work = value
	case "idmap":
		p.IDMap = value
	}
	return nil
}

// addGeneric takes the options of mount(8) that are not about composefs.
func (p *optionParser) addGeneric(key string) bool {
	switch key {
	case "ro":
		p.ReadOnly = true
	case "rw":
		p.ReadOnly = false
	case "suid", "nosuid":
		p.Nosuid = key == "nosuid"
	case "dev", "nodev":
		p.Nodev = key == "nodev"
	case "exec", "noexec":
		p.Noexec = key == "noexec"
	case "atime", "noatime":
		p.Noatime = key == "noatime"
	case "defaults":
		p.ReadOnly, p.Nosuid, p.Nodev, p.Noexec = false, false, false, false
	case "user", "users":
		p.Nosuid, p.Nodev, p.Noexec = true, true, true
	case "owner", "group":
		p.Nosuid, p.Nodev = true, true
	case "auto", "noauto", "nofail", "_netdev", "nouser", "nousers", "noowner", "nogroup",
		"async", "sync", "dirsync", "relatime", "norelatime", "strictatime", "nostrictatime",
		"diratime", "nodiratime", "lazytime", "nolazytime", "iversion", "noiversion",
		"mand", "nomand", "silent", "loud", "comment":
	default:
		return strings.HasPrefix(key, "x-") || strings.HasPrefix(key, "X-")
	}
	return true
}

// splitEscaped splits at separators that no backslash precedes, and leaves backslashes in.
func splitEscaped(s string, separator byte) ([]string, error) {
	var items []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
			if i == len(s) {
				return nil, &OptionError{"Option string ends in a backslash"}
			}
		case separator:
			items = append(items, s[start:i])
			start = i + 1
		}
	}
	return append(items, s[start:]), nil
}

// unescape takes away every backslash that stands for the character behind it. The string has
// gone through splitEscaped, so there is one.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
