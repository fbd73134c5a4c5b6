// Package selinux labels a file tree as the SELinux policy says that is in it.
//
// # Words
//
// A policy says in file_contexts, line by line, which files get which label (a security context):
//
//	/usr/bin(/.*)?              system_u:object_r:bin_t:s0
//	/usr/bin/[^/]*-daemon  --   system_u:object_r:daemon_exec_t:s0
//	/run/.*                     <<none>>
//
// A line is a spec: a regular expression for the whole path, perhaps a type of file (-- for regular ones, -d,
// -l, -b, -c, -p, -s), and the label, of which <<none>> means that there is none. The last spec that matches
// counts; those of file_contexts.local and file_contexts.homedirs come after all others. A substitution, in
// file_contexts.subs_dist and file_contexts.subs, is a directory that is labelled as another one would be.
//
//	etc/selinux/config                            SELINUXTYPE=targeted
//	etc/selinux/targeted/contexts/files/file_contexts
//	                                    file_contexts.local, .homedirs
//	                                    file_contexts.subs_dist, .subs
//
// # Rules
//
// The formats are those of file_contexts(5) and selabel_file(5); where composefs-rs 0.9 departs from libselinux
// this package goes with it, because labels are part of the digest of a bootable image: a label has no NUL at its
// end, specs without special characters have no precedence, and a "$" in a spec, which is followed by the type
// of the file there, never matches.
//
// Expressions are about bytes, not characters, and "." is any of them. They are those of package regexp/syntax;
// what that does not know, such as looking around, is left to a slower matcher.
//
// # How it is fast
//
// All expressions are one automaton, which is made while it runs and goes on from the directory for each
// of its files. So the time is that of reading the names, whatever the number of specs.
//
//	"/usr/" ──► state ─┬─"bin"──► state ──"/"──► state ──"ls"──► state: the best spec for each type
//	                   └─"lib"──► …
//
// # Promises
//
// A policy may be hostile: time and memory are limited, whatever the expressions are.
package selinux
