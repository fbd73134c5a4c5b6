//go:build !amd64 || purego

package fsverity

const hashesPairs = false

func appendPair([]byte, []byte) []byte { panic("fsverity: no hashing of pairs") }
