package objects

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/go-composefs/composefs/fsverity"
)

// An object's seal is that the nanoseconds of its modification time are a number taken from its
// digest. Whoever writes to the object sets another time. Comparing its content with what it
// should be takes longer than all else that is done with an object that is there already, and is
// left for those whose seal is broken or never was: those of other programs, and those on
// filesystems that do not keep nanoseconds.

// found is what there is under a name.
type found struct {
	size        int64
	allocated   int64 // bytes
	nanoseconds int64 // of its modification time
	regular     bool
	verity      bool
}

// sealed says whether nobody seems to have written to the object of this digest. Holes can be what
// a power failure has left of it: its size was durable before its data.
func (f found) sealed(digest fsverity.Digest) bool {
	return f.nanoseconds == sealOf(digest) && f.allocated >= f.size
}

func sealOf(digest fsverity.Digest) int64 {
	var sum [64]byte
	return int64(binary.LittleEndian.Uint32(digest.Append(sum[:0]))) % int64(time.Second)
}

// seal seals an object that is complete. Where that is not possible it will be compared.
func seal(f *os.File, digest fsverity.Digest) {
	_ = setModTime(f, time.Unix(time.Now().Unix(), sealOf(digest)))
}
