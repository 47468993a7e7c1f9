package record

import "time"

// NoticeBackupEnded follows the record of a backup, whose answer is a stream:
// it says how that ended.
const NoticeBackupEnded = "BackupEnded"

// BackupEnded returns the notice that follows r when its stream has ended. A
// code is given if it ended before it was whole.
func (r *Record) BackupEnded(code, note string, at time.Time) *Record {
	n := r.notice(NoticeBackupEnded, at)
	n.ErrorCode, n.Note = code, note
	return n
}
