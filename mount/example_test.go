package mount_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/mount"
)

// Mount an image whose digest is known from a source that is trusted, so that the kernel vouches
// for every byte below /srv/app.
func ExampleAt() {
	image, err := os.Open("/var/lib/images/app.cfs")
	if err != nil {
		log.Fatal(err)
	}
	defer image.Close()
	objects, err := os.Open("/var/lib/store")
	if err != nil {
		log.Fatal(err)
	}
	defer objects.Close()
	digest, err := fsverity.ParseDigest("5ceb20530731a1a1cea6a4badc2fabecc8b9f15481657e1eb8fab82d8b2f2268")
	if err != nil {
		log.Fatal(err)
	}
	_, err = mount.At(context.Background(), mount.Options{
		Image:   image,
		Objects: []*os.File{objects},
		Digest:  digest,
		Verity:  mount.VerityRequire,
	}, "/srv/app")
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleProbe() {
	store, err := os.Open("/var/lib/store")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if verity := mount.Probe(store).Get(mount.CapVerity); verity.Answer != mount.Yes {
		fmt.Println(verity.Detail)
	}
}

func ExampleParseOptions() {
	opts, err := mount.ParseOptions(`ro,basedir=/srv/a\:b:/srv/c,tryverity,x-systemd.automount`)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q %v %v\n", opts.Objects, opts.Verity, opts.ReadOnly)
	_, err = mount.ParseOptions("basedir=/srv/store,verify")
	fmt.Println(err)
	// Output:
	// ["/srv/a:b" "/srv/c"] try true
	// Unsupported option verify
}
