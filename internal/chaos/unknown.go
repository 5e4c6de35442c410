package main

import "errors"

// isUnknown reports whether nobody can tell what became of an operation.
func isUnknown(err error) bool {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return false
		}
	}
	return !errors.Is(err, errOnPurpose)
}
