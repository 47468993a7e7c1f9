package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log is a folder of segments, files of one size named
//
//	audit-0000000001.seg
//
// by a number that only ever grows. All integers are little-endian.
//
// A segment is
//
//	+--------+---------+---------+- - -+---------------+
//	| header | frame   | frame   |     | zeros         |
//	+--------+---------+---------+- - -+---------------+
//	0        64                                     size
//
// written full of zeros and synced before it is used, so that a commit changes
// no metadata of the file. A segment whose header is all zeros is prepared but
// not in use. The header is written with the first frames:
//
//	 0  magic "SESAUDIT"
//	 8  format version u32 (1)
//	12  seed u32: CRC of the frame before the first one
//	16  number of the segment u64
//	24  first index u64: of the first frame
//	32  size of the segment u64
//	40  when the segment was begun, nanoseconds since 1970 UTC, i64
//	48  zeros
//	60  CRC32C of bytes 0 to 59, u32
//
// A frame is
//
//	 0  index u64: of the record in the log, from 0, without gaps
//	 8  length of the payload u32, never 0
//	12  CRC32C u32 of bytes 0 to 11 and the payload, begun with the CRC of the
//	    frame before (of the first frame in a segment: with the seed)
//	16  payload
//
// so that a frame is good only in its place, after all those before it. The
// very first seed is random: frames of one log are bad in every other.
//
// A segment on which a write or a sync failed is never written again; what was
// not acknowledged goes to the next one, whose first index says where it
// continues. Hence the rule by which every frame counts exactly once: the
// frames of a segment count only up to the first index of the next segment in
// use. Whether the failed segment holds more does not matter.
const (
	magic         = "SESAUDIT"
	formatVersion = 1
	headerSize    = 64
	frameOverhead = 16
	// maxPayload bounds what a damaged length can make a reader do.
	maxPayload = 1<<20 - frameOverhead
	// maxSegment bounds the size in a header likewise.
	maxSegment = 4 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is wrapped by errors that tell of damage to acknowledged records,
// or to a file that cannot be told apart from such damage.
var ErrDamaged = errors.New("audit log damaged")

// header is the decoded head of a segment.
type header struct {
	seed   uint32
	number uint64
	first  uint64
	size   int64
	begun  int64
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], h.seed)
	binary.LittleEndian.PutUint64(b[16:], h.number)
	binary.LittleEndian.PutUint64(b[24:], h.first)
	binary.LittleEndian.PutUint64(b[32:], uint64(h.size))
	binary.LittleEndian.PutUint64(b[40:], uint64(h.begun))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// parseHeader reads the head of a segment. used is false for one that is
// prepared but not in use.
func parseHeader(b []byte) (h header, used bool, err error) {
	if allZero(b) {
		return header{}, false, nil
	}
	if len(b) < headerSize || string(b[:8]) != magic {
		return header{}, false, fmt.Errorf("%w: not the head of a segment", ErrDamaged)
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return header{}, false, fmt.Errorf("%w: bad checksum of the segment's head", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return header{}, false, fmt.Errorf("audit segment of format %d, this program reads %d", v, formatVersion)
	}
	size := binary.LittleEndian.Uint64(b[32:])
	if size < headerSize || size > maxSegment || !allZero(b[48:60]) {
		return header{}, false, fmt.Errorf("%w: impossible head of a segment", ErrDamaged)
	}
	return header{
		seed:   binary.LittleEndian.Uint32(b[12:]),
		number: binary.LittleEndian.Uint64(b[16:]),
		first:  binary.LittleEndian.Uint64(b[24:]),
		size:   int64(size),
		begun:  int64(binary.LittleEndian.Uint64(b[40:])),
	}, true, nil
}

// sealFrame fills in the head of a frame whose payload stands in place and
// returns its CRC, which the next frame begins with.
func sealFrame(frame []byte, index uint64, chain uint32) uint32 {
	binary.LittleEndian.PutUint64(frame, index)
	binary.LittleEndian.PutUint32(frame[8:], uint32(len(frame)-frameOverhead))
	crc := frameCRC(frame, chain)
	binary.LittleEndian.PutUint32(frame[12:], crc)
	return crc
}

func frameCRC(frame []byte, chain uint32) uint32 {
	return crc32.Update(crc32.Update(chain, castagnoli, frame[:12]), castagnoli, frame[frameOverhead:])
}

// frameLength returns the length of the whole frame that begins with head; 0
// if no good frame can begin so.
func frameLength(head []byte, index uint64) int {
	if len(head) < frameOverhead || binary.LittleEndian.Uint64(head) != index {
		return 0
	}
	n := binary.LittleEndian.Uint32(head[8:])
	if n == 0 || n > maxPayload {
		return 0
	}
	return frameOverhead + int(n)
}

// checkFrame reports whether frame, of the length that frameLength said, is
// good after a frame with the CRC chain, and returns its own CRC.
func checkFrame(frame []byte, chain uint32) (crc uint32, ok bool) {
	crc = frameCRC(frame, chain)
	return crc, crc == binary.LittleEndian.Uint32(frame[12:])
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
