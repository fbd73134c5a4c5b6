package xxh32

import "testing"

func TestSumPublishedVectors(t *testing.T) {
	for _, tc := range []struct {
		in   string
		seed uint32
		want uint32
	}{
		{"", 0, 0x02CC5D05},
		{"", 0x9E3779B1, 0x36B78AE7},
		{"a", 0, 0x550D7456},
		{"abc", 0, 0x32D153FF},
		{"Nobody inspects the spammish repetition", 0, 0xE2293B2F},
	} {
		if got := Sum(tc.in, tc.seed); got != tc.want {
			t.Errorf("Sum(%q, %#x) = %#x, want %#x", tc.in, tc.seed, got, tc.want)
		}
	}
}
