// Package depcheck has only a test: it holds every package of the module to its row of the
// layout in DESIGN.md, and to the outside modules that the row may link.
package depcheck
