package erofs

import (
	"maps"
	"slices"

	"github.com/go-composefs/composefs/tree"
)

// nidTable finds inodes by their nids. Neighbours in the image are asked for one after the
// other, so it is made of pages and remembers the last one, where a map would hash each time.
// It takes at most a quarter of the image's size.
type nidTable struct {
	pages map[uint64]*nidPage
	page  *nidPage // the one of number at
	at    uint64
	count int
}

const nidPageBits = 10

type nidPage [1 << nidPageBits]*tree.Inode

// get returns the inode of a nid, or nil.
func (t *nidTable) get(nid uint64) *tree.Inode {
	if t.page == nil || t.at != nid>>nidPageBits {
		page := t.pages[nid>>nidPageBits]
		if page == nil {
			return nil
		}
		t.page, t.at = page, nid>>nidPageBits
	}
	return t.page[nid%(1<<nidPageBits)]
}

// put enters an inode that is not there yet.
func (t *nidTable) put(nid uint64, node *tree.Inode) {
	number := nid >> nidPageBits
	if t.page == nil || t.at != number {
		t.page, t.at = t.pages[number], number
		if t.page == nil {
			t.page = new(nidPage)
			if t.pages == nil {
				t.pages = map[uint64]*nidPage{}
			}
			t.pages[number] = t.page
		}
	}
	t.page[nid%(1<<nidPageBits)] = node
	t.count++
}

// appendNids appends all nids in ascending order.
func (t *nidTable) appendNids(nids []uint64) []uint64 {
	for _, number := range slices.Sorted(maps.Keys(t.pages)) {
		for i, node := range t.pages[number] {
			if node != nil {
				nids = append(nids, number<<nidPageBits|uint64(i))
			}
		}
	}
	return nids
}
