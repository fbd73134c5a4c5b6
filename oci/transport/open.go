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
		return source(openRegistrySource(ref, opts))
	case OCI:
		return source(openLayoutSource(ref))
	case OCIArchive:
		return source(openOCIArchiveSource(ctx, ref, opts))
	case DockerArchive:
		return source(openDockerArchiveSource(ctx, ref, opts))
	}
	return nil, fmt.Errorf("read %s: %w", ref, ErrUnsupported)
}

// OpenDestination opens the place that ref names for writing one image. The caller closes the destination.
func OpenDestination(_ context.Context, ref Reference, opts Options) (Destination, error) {
	switch ref.transport {
	case Docker:
		return destination(openRegistryDestination(ref, opts))
	case OCI:
		return destination(openLayoutDestination(ref))
	case OCIArchive:
		return destination(openOCIArchiveDestination(ref, opts))
	case DockerArchive:
		return destination(openDockerArchiveDestination(ref, opts))
	}
	return nil, fmt.Errorf("write %s: %w", ref, ErrUnsupported)
}

// source returns no source where there is an error: a nil pointer in an interface would not be nil.
func source[S Source](s S, err error) (Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func destination[D Destination](d D, err error) (Destination, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}
