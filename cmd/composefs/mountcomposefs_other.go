//go:build !linux

package main

import "errors"

func runInMountNamespace(string, []string) error { return errors.ErrUnsupported }
