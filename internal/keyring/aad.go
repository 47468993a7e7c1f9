package keyring

import "encoding/binary"

// label says what a sealed thing is. It leads the associated data of every
// seal and the input of every MAC, so that nothing made for one use passes in
// another, whatever the fields. A changed meaning needs a new label.
type label string

const (
	labelRingKey  label = "opensesame/v1/ring-key"
	labelMAC      label = "opensesame/v1/record-mac"
	labelSealed   label = "opensesame/v1/sealed"
	labelMaterial label = "opensesame/v1/key-material"
	labelDataKey  label = "opensesame/v1/data-key"
	labelValue    label = "opensesame/v1/secret-value"
)

// appendField appends one field as its length, 4 bytes big-endian, and its
// bytes. A sequence of fields can be read in one way only, so no byte can move
// from one field to its neighbour and leave the whole unchanged. A field is far
// shorter than 4 GiB: the longest are a record's body and a sealed value.
func appendField[F ~string | ~[]byte](b []byte, field F) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

// appendUint32 appends a number as a field of 4 bytes.
func appendUint32(b []byte, n uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, 4)
	return binary.BigEndian.AppendUint32(b, n)
}
