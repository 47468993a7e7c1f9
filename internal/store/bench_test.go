package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func benchFixture(b *testing.B, shared bool) *fixture {
	f := newFixture(b, func(cfg *Config) { cfg.ForceSharedCheck = shared })
	for from := 0; from < 10_000; from += 100 {
		if _, err := f.commit(func(tx *Tx) error {
			for i := from; i < from+100; i++ {
				notes.Put(tx, fmt.Sprintf("a/%d", i), &note{N: i})
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// BenchmarkViewGet takes a view and makes one look-up among 10,000 records.
func BenchmarkViewGet(b *testing.B) {
	for name, shared := range map[string]bool{"single": false, "shared": true} {
		b.Run(name, func(b *testing.B) {
			f := benchFixture(b, shared)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					v, err := f.View(context.Background())
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := notes.Get(v, "a/7777"); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkEtcd is what etcd alone takes for the transaction of BenchmarkCommit.
func BenchmarkEtcd(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("c=%d", writers), func(b *testing.B) {
			c := startNode(b, b.TempDir()).Client()
			payload := string(make([]byte, 1550))
			var n, id atomic.Int64
			b.ResetTimer()
			done := make(chan struct{})
			for range writers {
				go func() {
					defer func() { done <- struct{}{} }()
					key := fmt.Sprintf("b/%d", id.Add(1))
					var rev int64
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						resp, err := c.Txn(context.Background()).
							If(clientv3.Compare(clientv3.ModRevision(key), "=", rev)).
							Then(clientv3.OpPut(key, "0123456789012345678901234567890123456789012345678901234567890"),
								clientv3.OpPut(fmt.Sprintf("outbox/n1/r%d/0000", i), payload)).Commit()
						if err != nil || !resp.Succeeded {
							b.Errorf("%v, %v", resp, err)
							return
						}
						rev = resp.Header.Revision
					}
				}()
			}
			for range writers {
				<-done
			}
		})
	}
}

// BenchmarkCommit reads and writes a record of its own and adds an audit record,
// with 1 and 16 writers.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("c=%d", writers), func(b *testing.B) {
			f := benchFixture(b, false)
			payload := make([]byte, 1500)
			var n, id atomic.Int64
			b.ResetTimer()
			done := make(chan struct{})
			for range writers {
				go func() {
					defer func() { done <- struct{}{} }()
					key := fmt.Sprintf("b/%d", id.Add(1))
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						_, err := f.Commit(context.Background(), nil, fmt.Sprintf("r%d", i), func(tx *Tx) error {
							_, _ = notes.Read(tx, key) // absent the first time
							notes.Put(tx, key, &note{N: int(i)})
							tx.Outbox(payload)
							return nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			for range writers {
				<-done
			}
		})
	}
}
