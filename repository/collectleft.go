package repository

import (
	"io/fs"
	"strings"
	"time"
)

// removeLeases removes the leases that do not count any more.
func (c *collector) removeLeases() error {
	now := time.Now()
	for id, err := range c.r.leaseIDs() {
		if err != nil {
			return err
		}
		info, err := c.r.leaseInfo(id)
		if gone(err) || err == nil && info.Live(now) {
			continue
		}
		if c.opts.DryRun {
			_ = c.remove(Garbage{Kind: GarbageLease, Name: id}, nil) // only counts
			continue
		}
		removed := true
		err = c.remove(Garbage{Kind: GarbageLease, Name: id}, func() error {
			var err error
			removed, err = c.r.removeLease(id, func(i LeaseInfo) bool { return i.Live(now) })
			return err
		})
		if err != nil {
			return err
		}
		if !removed {
			c.result.Leases--
		}
	}
	return nil
}

// temporaryAge is how old temporary files must be to be garbage. Those that a lease does not stand for
// exist for the time of two system calls; and file systems stamp files with a clock that is some
// milliseconds behind the one that leases are stamped with.
const temporaryAge = time.Minute

// removeTemporaries removes what killed processes have left half made.
func (c *collector) removeTemporaries() error {
	before := time.Now()
	list, err := c.r.Leases()
	if err != nil {
		return err
	}
	for _, l := range list {
		if l.Held && l.Created.Before(before) {
			before = l.Created // its process may be writing them
		}
	}
	before = before.Add(-temporaryAge)
	for _, dir := range []string{".", leasesDir} {
		if err := c.removeTemporariesIn(dir, before); err != nil {
			return err
		}
	}
	for temp, err := range c.r.objects.Temporaries(before) {
		if err != nil {
			return err
		}
		g := Garbage{Kind: GarbageTemporary, Name: objectsDir + "/" + temp.Path, Size: temp.Size}
		if err := c.remove(g, func() error { return c.r.root.Remove(g.Name) }); err != nil {
			return err
		}
	}
	return nil
}

// Names of files that are only there until they are renamed.
var temporaryPrefixes = []string{tempLink, tempMeta, tempLease, tempScratch}

func (c *collector) removeTemporariesIn(dir string, before time.Time) error {
	entries, err := fs.ReadDir(c.r.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !hasAnyPrefix(e.Name(), temporaryPrefixes) {
			continue
		}
		info, err := e.Info()
		if gone(err) || err == nil && !info.ModTime().Before(before) {
			continue
		}
		if err != nil {
			return err
		}
		name := e.Name()
		if dir != "." {
			name = dir + "/" + name
		}
		if err := c.remove(Garbage{Kind: GarbageTemporary, Name: name}, func() error { return c.r.root.Remove(name) }); err != nil {
			return err
		}
	}
	return nil
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
