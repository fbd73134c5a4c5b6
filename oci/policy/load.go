package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// SystemFiles are where the system's policy is; the first that is there counts. The second is for
// systems whose /usr is made elsewhere.
var SystemFiles = []string{"/etc/composefs/policy.toml", "/usr/lib/composefs/policy.toml"}

// Environment is the variable that names the user's policy.
const Environment = "COMPOSEFS_POLICY"

// LoadOptions say where policies are. The zero value is for nobody's use: see [DefaultOptions].
type LoadOptions struct {
	System []string // files of the system's policy
	File   string   // the user's policy, if not empty; it must be there
	User   string   // where it is else; it need not be there
}

// DefaultOptions returns the places of the system and of this user. file is what the user has said
// on the command line, and may be empty.
func DefaultOptions(file string) LoadOptions {
	o := LoadOptions{System: SystemFiles, File: file}
	if o.File == "" {
		o.File = os.Getenv(Environment)
	}
	if dir, err := os.UserConfigDir(); err == nil {
		o.User = filepath.Join(dir, "composefs", "policy.toml")
	}
	return o
}

// Load reads the policies that hold: the system's, and the user's, which can only ask for more. If there
// is none, it is the built-in one.
func Load(o LoadOptions) (Policies, error) {
	var all Policies
	for _, file := range o.System {
		p, there, err := loadIfThere(file)
		if err != nil {
			return nil, err
		}
		if there {
			all = append(all, p)
			break
		}
	}
	switch {
	case o.File != "":
		p, err := LoadFile(o.File)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	case o.User != "":
		p, there, err := loadIfThere(o.User)
		if err != nil {
			return nil, err
		}
		if there {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		all = Policies{Builtin()}
	}
	return all, nil
}

// loadIfThere reads a policy whose file need not exist. Any other reason not to read it is an error.
func loadIfThere(file string) (p *Policy, there bool, err error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	p, err = LoadFile(file)
	return p, true, err
}

// LoadFile reads a policy from a file. One that everybody can write is [ErrSyntax]: it would be
// anybody's policy.
func LoadFile(file string) (*Policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("read policy %s: %w: everybody can write it (mode %04o)", file, ErrSyntax, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return Parse(data, file)
}
