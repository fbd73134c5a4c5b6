package selinux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-composefs/composefs/tree"
)

// Load returns the policy that is in a tree, or [ErrNoPolicy] if etc/selinux/config is missing or names none.
// Files are read from objects, which answers for their integrity; symlinks are not followed. A policy that is
// named and incomplete is [ErrPolicy].
func Load(ctx context.Context, root *tree.Inode, objects tree.Opener) (*Policy, error) {
	config, err := read(ctx, root, "etc/selinux/config", objects)
	if errors.Is(err, tree.ErrNotFound) || errors.Is(err, tree.ErrNotDir) {
		return nil, ErrNoPolicy
	}
	if err != nil {
		return nil, err
	}
	name, ok := policyName(config)
	if !ok {
		return nil, ErrNoPolicy
	}
	if err := tree.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: etc/selinux/config: SELINUXTYPE: %w", ErrPolicy, err)
	}
	dir := "etc/selinux/" + name + "/contexts/files/"
	var s Source
	for _, f := range []struct {
		name string
		text *string
	}{
		{"file_contexts", &s.FileContexts},
		{"file_contexts.local", &s.Local},
		{"file_contexts.homedirs", &s.Homedirs},
		{"file_contexts.subs_dist", &s.SubsDist},
		{"file_contexts.subs", &s.Subs},
	} {
		*f.text, err = read(ctx, root, dir+f.name, objects)
		switch {
		case err == nil:
		case !errors.Is(err, tree.ErrNotFound) && !errors.Is(err, tree.ErrNotDir):
			return nil, err
		case f.name == "file_contexts":
			return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	p, err := New(s)
	if err != nil {
		return nil, fmt.Errorf("%s%w", dir, err)
	}
	return p, nil
}

// policyName returns what etc/selinux/config says of the policy's directory.
func policyName(config string) (string, bool) {
	for line := range strings.SplitSeq(config, "\n") {
		key, value, ok := strings.Cut(line, "=")
		if ok && strings.EqualFold(strings.TrimSpace(key), "SELINUXTYPE") {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// read returns the content of a file of the tree.
func read(ctx context.Context, root *tree.Inode, path string, objects tree.Opener) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	n, err := tree.Resolve(root, path)
	switch {
	case err != nil:
		return "", err
	case !n.IsRegular():
		return "", fmt.Errorf("%w: %s is no regular file", ErrPolicy, path)
	case n.Size > maxFile:
		return "", fmt.Errorf("%w: %s has %d bytes, at most %d are possible", ErrLimit, path, n.Size, maxFile)
	case !n.IsExternal():
		return string(n.Content), nil
	}
	r, err := objects.OpenObject(n)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	defer r.Close()
	text := make([]byte, n.Size)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(text), nil
}
