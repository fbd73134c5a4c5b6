package transport

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/oci/manifest"
)

const (
	// dockerHost is the registry of names that have none, and dockerOldHost what it was called before.
	dockerHost    = "docker.io"
	dockerOldHost = "index.docker.io"
	// dockerLibrary is before names that have only one part, at that registry.
	dockerLibrary = "library/"
	// defaultTag is that of names without a tag and a digest.
	defaultTag = "latest"

	// maxRepository and maxTag are how many bytes a repository's name and a tag may have.
	maxRepository = 255
	maxTag        = 128
)

var (
	errUppercase = errors.New("the repository's name must be lowercase")
	errHostName  = errors.New("it begins with what is no name of a host")
	errRepoName  = errors.New("its repository's name is not one")
)

// imageName is the name of an image in a registry, with all that it may leave out.
type imageName struct {
	host, repo, tag string
	digest          digest.Digest
}

// parseImageName parses a name as Docker does. The grammar is that of the package reference of
// github.com/distribution, whose regular expressions every start of a program would pay for:
//
//	name   = [host "/"] part {"/" part} [":" tag] ["@" digest]
//	host   = (label {"." label} | "[" hexadecimal digits and ":" "]") [":" digits]
//	label  = letters, digits and, inside, "-"
//	part   = word {separator word}
//	word   = lowercase letters and digits
//	separator = "." | "_" | "__" | "-" {"-"}
//	tag    = a letter, digit or "_", then up to 127 of these, "." and "-"
//
// It differs in one thing: where the first part can only be a host but is none, as in "a_b.c/app", that
// takes it for a part of a repository without a registry, and this is an error.
func parseImageName(s string) (imageName, error) {
	if len(s) == 64 && all(s, isLowerHex) {
		return imageName{}, errors.New("64 hexadecimal digits would be taken for a digest")
	}
	n, rest := splitHost(s)
	rest, sum, hasDigest := strings.Cut(rest, "@")
	n.repo, n.tag, _ = strings.Cut(rest, ":")
	switch {
	case !isHost(n.host):
		return imageName{}, errHostName
	case strings.ToLower(n.repo) != n.repo:
		return imageName{}, errUppercase
	case !isRepository(n.repo):
		return imageName{}, errRepoName
	case len(n.repo) > maxRepository:
		return imageName{}, fmt.Errorf("the repository's name has %d bytes, %d are allowed", len(n.repo), maxRepository)
	case len(n.repo) < len(rest) && !isTag(n.tag):
		return imageName{}, fmt.Errorf("%.140q is no tag", n.tag)
	}
	if hasDigest {
		n.digest = digest.Digest(sum)
		if err := manifest.CheckDigest(n.digest); err != nil {
			return imageName{}, err
		}
	}
	return n, nil
}

// splitHost returns the host that a name has or leaves out, and what comes after it.
func splitHost(s string) (n imageName, rest string) {
	first, rest, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return imageName{host: dockerHost}, dockerLibrary + s
	case first == dockerOldHost:
		first = dockerHost
	case first == "localhost", strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
	default:
		return imageName{host: dockerHost}, s
	}
	if first == dockerHost && !strings.Contains(rest, "/") {
		rest = dockerLibrary + rest
	}
	return imageName{host: first}, rest
}

func (n imageName) String() string {
	s := n.host + "/" + n.repo
	if n.tag != "" {
		s += ":" + n.tag
	}
	if n.digest != "" {
		s += "@" + n.digest.String()
	}
	return s
}

// isHost says whether s is a host with or without a port.
func isHost(s string) bool {
	var port string
	var hasPort bool
	if inner, ok := strings.CutPrefix(s, "["); ok {
		address, after, ok := strings.Cut(inner, "]")
		if !ok || address == "" || !all(address, func(c byte) bool { return isHex(c) || c == ':' }) {
			return false
		}
		if after == "" {
			return true
		}
		if port, hasPort = strings.CutPrefix(after, ":"); !hasPort {
			return false
		}
	} else {
		s, port, hasPort = strings.Cut(s, ":")
		for label := range strings.SplitSeq(s, ".") {
			if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
				!all(label, func(c byte) bool { return isAlnum(c) || c == '-' }) {
				return false
			}
		}
	}
	return !hasPort || port != "" && all(port, isDigit)
}

func isRepository(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if !isPart(part) {
			return false
		}
	}
	return true
}

// isPart says whether s is words with separators between them.
func isPart(s string) bool {
	for {
		n := prefix(s, func(c byte) bool { return isLower(c) || isDigit(c) })
		if n == 0 {
			return false
		}
		if s = s[n:]; s == "" {
			return true
		}
		switch {
		case s[0] == '-':
			s = s[prefix(s, func(c byte) bool { return c == '-' }):]
		case strings.HasPrefix(s, "__"):
			s = s[2:]
		case s[0] == '_', s[0] == '.':
			s = s[1:]
		default:
			return false
		}
	}
}

func isTag(s string) bool {
	isWord := func(c byte) bool { return isAlnum(c) || c == '_' }
	return s != "" && len(s) <= maxTag && isWord(s[0]) &&
		all(s, func(c byte) bool { return isWord(c) || c == '.' || c == '-' })
}

// prefix returns how many bytes at the beginning of s are ok.
func prefix(s string, ok func(byte) bool) int {
	for i := range len(s) {
		if !ok(s[i]) {
			return i
		}
	}
	return len(s)
}

func all(s string, ok func(byte) bool) bool { return prefix(s, ok) == len(s) }

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLower(c byte) bool    { return 'a' <= c && c <= 'z' }
func isAlnum(c byte) bool    { return isDigit(c) || isLower(c|0x20) && c < 0x80 }
func isLowerHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
func isHex(c byte) bool      { return isDigit(c) || isLowerHex(c|0x20) && c >= 'A' }
