package seal

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/go-composefs/composefs/fsverity"
)

// Documents returns the digests of a manifest and a configuration, byte for byte as the registry has
// them. The manifest must name this configuration; if manifestDigest is not empty, it must be that
// of the manifest ([ErrWrongDigest]). So the chain from a manifest's digest is closed to the
// configuration; the trees, which are made from the layers that the configuration names, are for
// the caller to add.
func Documents(alg fsverity.Algorithm, manifestDigest digest.Digest, manifest, config []byte) (Digests, error) {
	if manifestDigest != "" {
		if err := manifestDigest.Validate(); err != nil {
			return Digests{}, fmt.Errorf("check manifest: %w: %w", ErrMalformed, err)
		}
		if manifestDigest.Algorithm().FromBytes(manifest) != manifestDigest {
			return Digests{}, fmt.Errorf("check manifest: %w: it is not %v", ErrWrongDigest, manifestDigest)
		}
	}
	if err := checkDocument(manifest); err != nil {
		return Digests{}, fmt.Errorf("read manifest: %w", err)
	}
	o, err := parseObject(manifest, manifestFields...)
	if err != nil {
		return Digests{}, fmt.Errorf("read manifest: %w", err)
	}
	named, err := parseDescriptor(o.get("config"))
	if err != nil {
		return Digests{}, fmt.Errorf("read manifest: config: %w", err)
	}
	if int64(len(config)) != named.Size || named.Digest.Algorithm().FromBytes(config) != named.Digest {
		return Digests{}, fmt.Errorf("check configuration of %d bytes: %w: the manifest says %v", len(config), ErrWrongDigest, named.Digest)
	}
	d := Digests{Algorithm: alg}
	if d.Manifest, err = fsverity.Sum(alg, manifest); err != nil {
		return Digests{}, fmt.Errorf("digest manifest: %w", err)
	}
	if d.Config, err = fsverity.Sum(alg, config); err != nil {
		return Digests{}, fmt.Errorf("digest configuration: %w", err)
	}
	return d, nil
}

// Label is the label of a configuration in which images for older versions of composefs-rs have the
// digest of their tree.
const Label = "containers.composefs.fsverity"

// ReadLabel returns the digest that the configuration's [Label] says, the zero digest if there is no
// such label, and [ErrMalformed] if it is not one.
func ReadLabel(config []byte) (fsverity.Digest, error) {
	sum, err := readLabel(config)
	if err != nil {
		return fsverity.Digest{}, fmt.Errorf("read label %s: %w", Label, err)
	}
	return sum, nil
}

func readLabel(raw []byte) (fsverity.Digest, error) {
	if err := checkDocument(raw); err != nil {
		return fsverity.Digest{}, err
	}
	image, err := parseObject(raw, "config")
	if err != nil {
		return fsverity.Digest{}, err
	}
	labels := json.RawMessage("{}")
	if config := image.get("config"); config != nil {
		o, err := parseObject(config, "Labels")
		if err != nil {
			return fsverity.Digest{}, err
		}
		if found := o.get("Labels"); found != nil {
			labels = found
		}
	}
	o, err := parseObject(labels)
	if err != nil {
		return fsverity.Digest{}, err
	}
	value := o.get(Label)
	if value == nil {
		return fsverity.Digest{}, nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return fsverity.Digest{}, fmt.Errorf("%w: not a string", ErrMalformed)
	}
	sum, err := fsverity.ParseDigest(text)
	if err != nil {
		return fsverity.Digest{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return sum, nil
}

// CheckLabel says whether the configuration's [Label], if it has one, names one of the digests, which
// are those of the image's trees; if not, it is [ErrWrongDigest]. A label under another hash than all of
// them is [ErrMissing]: it cannot be compared.
func CheckLabel(config []byte, trees ...fsverity.Digest) error {
	label, err := ReadLabel(config)
	if err != nil || label.IsZero() {
		return err
	}
	compared := false
	for _, sum := range trees {
		if sum == label {
			return nil
		}
		compared = compared || sum.Hash() == label.Hash()
	}
	if !compared {
		return fmt.Errorf("check label %s: %w: no tree's digest under %v", Label, ErrMissing, label.Hash())
	}
	return fmt.Errorf("check label %s: %w: no tree has %v", Label, ErrWrongDigest, label)
}
