// Package mount gives composefs images to the kernel, finds the mounts that exist, takes them
// down, and tells what a machine can do.
//
// # Words
//
// The image is mounted as EROFS: that mount is hidden and has all names and attributes, but
// external files in it are holes. On top comes an overlay whose lower layer is the image and
// whose data-only layers are the object directories: a file's redirect attribute leads the
// kernel from the image to its object, which it opens and, if verity is required, compares
// with the digest that the image has for it.
//
//	/srv/app            overlay, what users see
//	   │ upperdir       optional: what they write
//	   ├─ lowerdir+     the image: EROFS straight from the file, else through a loop device
//	   ├─ datadir+      first object directory
//	   └─ datadir+      further ones, searched in this order
//
// A mount is detached while only a descriptor leads to it. [Create] makes everything detached
// and hands out one descriptor, [Mount.Attach] puts that into the tree of names in one step;
// so nobody sees half a mount, and if a process dies before it, the kernel takes everything
// down. [At] does both.
//
// # Kernels
//
// What the kernel can do is found out by trying, best way first, and never by its version:
//
//	image file mounted directly, else loop device       when the kernel says ENOTBLK
//	layers as descriptors of detached mounts            else in a mount namespace of its own,
//	                                                    that a single thread enters, by name
//	lowerdir+, datadir+                                 else lowerdir=a::b, else lowerdir=a:b
//	fsopen(2)                                           else mount(2), in [At] only
//
// # What the kernel remembers
//
// There is no state file. The overlay's source says what was mounted, see [List]:
//
//	composefs:/srv/images/app.cfs@5ad8…    image, digest as measured by the kernel
//	composefs:/srv/images/app.cfs~5ad8…    image, digest computed by the mounter
//
// # Concurrency
//
// All functions may be called at once from many goroutines. A [Mount] is for one at a time.
package mount
