// Package policy says which container images are wanted on a machine: which may be used as they come,
// which must have a certain digest, which must be signed, and by whom.
//
// # Words
//
// A rule is what is asked of an image. A scope is the images that a rule is for: a registry, a
// repository or a part of its name, a tag, a directory. A policy is a file of rules: of the scopes
// that an image is in, the most particular one's rule counts, and the default if it is in none. A seal
// is what package seal reads.
//
// # The file
//
// It is TOML, as the other files are that decide where container images come from (registries.conf,
// storage.conf): it has comments, which JSON has not, and a file that is written by hand and reviewed by
// others needs them.
//
//	[default]                                   # must be there
//	action = "reject"
//
//	[image."registry.example.com/team"]         # and all repositories below it
//	action       = "signature"
//	certificates = ["team-ca.pem"]              # beside the policy's file
//	signers      = ["email:release@example.com", "cn:Release *"]
//	signed       = ["manifest", "config", "merged"]
//
//	[image."docker.io/library/debian:12"]
//	action  = "digest"
//	digests = ["sha256:3b6e…", "fsverity-sha512-12:d015…"]
//
//	[image."*.example.org"]                     # all registries of that domain
//	action   = "accept"
//	unsealed = false
//
//	[image."oci:/srv/images"]                   # and all layouts below it
//	action = "accept"
//
//	action       what is asked
//	accept       nothing; with unsealed = false, a seal that the image agrees with
//	digest       one of digests: of the manifest, of the index it is in, or of the merged tree
//	signature    signatures by somebody whom certificates vouch for, of the parts in signed; digests too, if there are any
//	reject       the impossible
//
//	field        what it is
//	certificates files of certificates, as seal.Trust takes them: signers' own or authorities'
//	signers      who may have signed, any of: subject:, cn:, email:, uri:, dns:, and sha256: (of the certificate);
//	             * stands for any text. All whom the certificates vouch for, if empty
//	signed       parts that must be signed: manifest, config, layer, merged, bootable. If empty, config, merged
//	             and, if the seal has its digest, manifest
//	unsealed     whether accept and digest take images without a seal; true unless said
//	digests      sha256:, sha384:, sha512: of manifests and indexes; fsverity-sha256-12:, … of merged trees
//
// Scopes of registries are HOST[:PORT][/PATH[:TAG|@DIGEST]] and *.DOMAIN. Ports 443 and 80 and the case of
// hosts make no difference. Of other transports they are TRANSPORT:PATH with an absolute path, which
// means the directories below as well, and TRANSPORT: alone, which means all of that transport. What an image
// is called where it comes from decides, not the mirror that it was had from. "repository:" is for images of whose origin
// origin nothing is known.
//
// An inline seal that the image does not agree with is refused by every rule: the image itself says
// that it is not what its maker had. Artifacts, which anybody could add, only count when one is asked for, and one
// good one is enough.
//
// # Which file
//
// All of these that there are; an image must pass each:
//
//	system   /etc/composefs/policy.toml, else /usr/lib/composefs/policy.toml
//	user     --policy FILE, else $COMPOSEFS_POLICY, else ~/.config/composefs/policy.toml
//
// So a user can ask for more than the system does and not for less; who administers the machine
// changes the system's file. A file that is named and not there, cannot be read, has a fault or a
// field that is unknown here, or can be written by everybody, is an error: nothing is pulled by half
// a policy. Where there is none at all, everything is accepted.
//
// # What a policy cannot do
//
// Signatures do not expire before their certificates do, and do not name the image: a signer's old
// image, or another of theirs, passes under any name in a scope for which that signer is trusted. Give
// scopes signers of their own, and pin digests where the version matters. Registries under a second
// name (an address, an alias) are in other scopes: let the default reject.
package policy
