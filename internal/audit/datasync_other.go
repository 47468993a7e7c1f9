//go:build !linux

package audit

import "os"

// datasync falls back to a full sync.
func datasync(f *os.File) error { return f.Sync() }
