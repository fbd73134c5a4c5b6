package selinux

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-composefs/composefs/tree"
)

// Attribute is the extended attribute that holds a label.
const Attribute = "security.selinux"

// Relabel gives all files of a tree the labels of the policy, and takes away those of files for which it has
// none. Names of one file that have to have different labels become files of their own: only those stay
// together that have the label of the first one, in the order of [tree.Walk].
func (p *Policy) Relabel(ctx context.Context, root *tree.Inode) error {
	l, err := p.labeler()
	if err != nil {
		return err
	}
	l.ctx, l.first = ctx, map[*tree.Inode]bool{}
	l.path = append(l.path, '/')
	at, err := l.run(l.start, "/")
	if err != nil {
		return err
	}
	label, err := l.label(at, 'd')
	if err != nil {
		return err
	}
	setLabel(root, label)
	return l.directory(root, at)
}

// Label returns the label of a path for a file of a type, by its letter in a policy, or an empty string. It is
// for single files: each call makes the automaton anew.
func (p *Policy) Label(path string, kind byte) (string, error) {
	l, err := p.labeler()
	if err != nil {
		return "", err
	}
	if original, ok := p.subs[path]; ok {
		path = original
	}
	l.path = append(l.path, path...)
	at, err := l.run(l.start, path)
	if err != nil {
		return "", err
	}
	return l.label(at, kind)
}

// RemoveLabels takes all labels away.
func RemoveLabels(root *tree.Inode) {
	for _, e := range tree.Walk(root) {
		e.Inode.RemoveXattr(Attribute)
	}
}

// labeler walks through a tree.
type labeler struct {
	*automaton
	ctx     context.Context //nolint:containedctx // that of one call of Relabel
	policy  *Policy
	path    []byte               // where we are, after substitutions
	first   map[*tree.Inode]bool // files of several names that have a label
	slowest time.Duration        // that slow specs have taken
}

func (p *Policy) labeler() (*labeler, error) {
	a, err := newAutomaton(p.program)
	return &labeler{automaton: a, policy: p}, err
}

// directory labels what is in a directory. at is the state after its path.
func (l *labeler) directory(dir *tree.Inode, at *state) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if l.path[len(l.path)-1] != '/' { // that of the root, or of a substitution, may have one
		l.path = append(l.path, '/')
		var err error
		if at, err = l.run(at, "/"); err != nil {
			return err
		}
	}
	length := len(l.path)
	for i := range dir.Children {
		e := &dir.Children[i]
		if l.path = append(l.path[:length], e.Name...); len(l.path) > maxPath {
			return fmt.Errorf("%w: a path of %d bytes", ErrLimit, len(l.path))
		}
		if err := l.entry(e, at); err != nil {
			return err
		}
	}
	return nil
}

// entry labels one entry. at is the state before its name.
func (l *labeler) entry(e *tree.Entry, at *state) error {
	var err error
	if original, ok := l.policy.subs[string(l.path)]; ok {
		before := l.path
		l.path = []byte(original)
		defer func() { l.path = before }()
		at, err = l.run(l.start, original)
	} else {
		at, err = l.run(at, e.Name)
	}
	if err != nil {
		return err
	}
	label, err := l.label(at, letter(e.Inode))
	if err != nil {
		return err
	}
	if e.Inode.IsDir() {
		setLabel(e.Inode, label)
		return l.directory(e.Inode, at)
	}
	linked := e.Link || e.Inode.Nlink > 1
	if linked && l.first[e.Inode] {
		if has, _ := e.Inode.Xattr(Attribute); has == label {
			return nil
		}
		own := *e.Inode
		own.Xattrs = slices.Clone(own.Xattrs)
		own.Nlink = 1
		e.Inode.Nlink--
		e.Inode, e.Link = &own, false
		setLabel(&own, label)
		return nil
	}
	if linked {
		l.first[e.Inode] = true
	}
	setLabel(e.Inode, label)
	return nil
}

func setLabel(n *tree.Inode, label string) {
	if label == "" {
		n.RemoveXattr(Attribute)
		return
	}
	n.SetXattr(Attribute, label)
}

// label returns the label of the path where we are.
func (l *labeler) label(at *state, kind byte) (string, error) {
	end, err := l.run(at, string(kind))
	if err != nil {
		return "", err
	}
	best := l.match(end)
	slow := l.policy.slow
	if len(slow) > 0 && slow[len(slow)-1].spec > best {
		if best, err = l.slowMatch(best, kind); err != nil {
			return "", err
		}
	}
	if best == noSpec {
		return "", nil
	}
	return l.policy.labels[best], nil
}

// slowMatch returns the last of best and the slow specs that match.
func (l *labeler) slowMatch(best int32, kind byte) (int32, error) {
	began := time.Now()
	var latin string
	for _, s := range slices.Backward(l.policy.slow) {
		if s.spec < best {
			break
		}
		if latin == "" {
			latin = latin1(string(l.path) + string(kind))
		}
		ok, err := s.matches(l.path, latin)
		if err != nil {
			return noSpec, err
		}
		if ok {
			best = s.spec
			break
		}
	}
	if l.slowest += time.Since(began); l.slowest > slowTotal {
		return noSpec, fmt.Errorf("%w: expressions that look around take more than %v", ErrLimit, slowTotal)
	}
	return best, nil
}
