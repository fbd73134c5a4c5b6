package transport

import (
	"context"
	"fmt"
)

// OpenSource opens the image that ref names for reading. Registries are not contacted before the
// first call of a method. The caller closes the source.
func OpenSource(ctx context.Context, ref Reference, opts Options) (Source, error) {
	switch ref.transport {
	case Docker:
		return openRegistrySource(ref, opts)
	}
	return nil, fmt.Errorf("read %s: %w", ref, ErrUnsupported)
}

// OpenDestination opens the place that ref names for writing one image. The caller closes the destination.
func OpenDestination(ctx context.Context, ref Reference, opts Options) (Destination, error) {
	switch ref.transport {
	case Docker:
		return openRegistryDestination(ref, opts)
	}
	return nil, fmt.Errorf("write %s: %w", ref, ErrUnsupported)
}
