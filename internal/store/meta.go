package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ReadMeta reads the format record without verifying its MAC, so that a newer
// format can be refused before any key is opened; [Open] verifies it. The error
// is ErrNotFound if etcd holds none: the data is new.
func ReadMeta(ctx context.Context, client *clientv3.Client) (*Meta, error) {
	resp, err := client.Get(ctx, Prefix+"meta")
	if err != nil {
		return nil, fmt.Errorf("read the format record: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return nil, ErrNotFound
	}
	_, _, body, err := decodeValue(resp.Kvs[0].Value)
	if err != nil {
		return nil, fmt.Errorf("%w: format record: %w", ErrTampered, err)
	}
	m := new(Meta)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: format record: %w", ErrTampered, errors.New("not JSON"))
	}
	return m, nil
}

// CheckFormat returns an ErrFormat that says what to do if this release can
// not read and write the data.
func (m *Meta) CheckFormat() error {
	if m.LeastReader > Format || m.LeastWriter > Format {
		return fmt.Errorf("%w: the data has format %d, which this release (format %d) cannot use; run the newer release that wrote it",
			ErrFormat, m.Format, Format)
	}
	return nil
}
