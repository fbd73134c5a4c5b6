package fsverity

// MaxSignature is how long a signature may be in bytes: FS_VERITY_MAX_SIGNATURE_SIZE of the kernel.
const MaxSignature = 16<<10 - 256
