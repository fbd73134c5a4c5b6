// Package linux wraps the system calls that the standard library and golang.org/x/sys leave
// raw: one thin function each, taking and returning *os.File, always close-on-exec, with the
// call's name in the error. It builds to nothing on other systems.
package linux
