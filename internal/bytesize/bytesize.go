// Package bytesize writes numbers of bytes for people.
package bytesize

import "fmt"

// String returns a number of bytes for people: "512 B", "3.9 GiB".
func String(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 6 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, " KMGTPE"[unit])
}
