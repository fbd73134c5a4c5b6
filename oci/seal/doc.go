// Package seal writes, reads, signs and verifies the composefs digests of a container image: what
// its manifest, configuration, layers and file trees must be, said beside the image by whoever
// made it.
//
// # Words
//
// A part is something of an image that has an fs-verity digest: the manifest and the
// configuration, as the registry has them; each layer, the merged tree and its bootable variant,
// as EROFS images of format 1 that everybody makes alike. A seal is the digests of an image's
// parts under one [fsverity.Algorithm], with signatures of some. It travels on one of two carriers:
//
//	inline     annotations of the image's own manifest    no manifest digest: it would change itself
//	artifact   a manifest that refers to the image's      no layer digests
//
//	part        annotation                                       inline, it is of the
//	manifest    composefs.manifest.fsverity-ALG-12               -
//	config      composefs.config.fsverity-ALG-12                 config descriptor
//	layer       composefs.layer.erofs.v1.fsverity-ALG-12         layer's descriptor
//	merged      composefs.merged.erofs.v1.fsverity-ALG-12        manifest
//	bootable    composefs.merged.bootable.erofs.v1.fsverity-ALG-12   manifest
//
// A digest is lower-case hexadecimal. Inline, its signature is the annotation with ".sig" at the end,
// base64; in an artifact it is the blob of the layer that has the annotation. The layers of an
// artifact are in the order of the table, merged must be there, the others may.
//
// A signature is a detached PKCS#7 (CMS, RFC 5652) SignedData in DER over
// [fsverity.FormattedDigest]: the kernel takes it with FS_IOC_ENABLE_VERITY, and openssl reads it.
// The rules are those of the sealing specification of composefs-rs (crates/composefs-oci,
// sealing_spec.rs).
//
// # What a signature says
//
// That the signer has signed this very object, under whatever name, and not that it is the newest
// one: who may sign what is for a policy to say. A seal's digests are claims. [Verify] compares them
// with those computed here from the image, and checks signatures over the computed ones only.
//
// # Keys
//
// RSA from 2048 bits, ECDSA with P-256, P-384 and P-521; the message digest is the hash of the
// fs-verity digest, as the program fsverity has it. Ed25519 is refused, since the kernel cannot
// check it. A key may be anything that is a [crypto.Signer]: one in a PKCS#11 token is plugged in
// there. A client of tokens is not part of this package, as it would need cgo.
//
// The package neither fetches nor stores. Input may be hostile: its size is capped, members that
// readers could understand differently are refused, and nothing panics. All functions are safe for
// concurrent use.
package seal
