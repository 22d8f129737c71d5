// Package inventory keeps in one bbolt file what was issued and what is in
// place: a record and a row for each certificate, every generation, the
// history of rollouts, and the append-only log of events. Private keys are in
// it only sealed, and only as long as their certificate's record needs them; then
// what is left of them in pages that bbolt has freed is overwritten.
//
// # Promises
//
// A change is written whole or not at all, together with its events. When
// Commit returns without an error the change is on the disk: it was synced,
// and kill -9 or a power cut does not take it back. A generation is never
// overwritten by another certificate, and the numbers of generations and
// rollouts of a name never start again, not even when the name leaves the
// fleet file and comes back.
//
// The time of a good look at a placement lies apart from the record, because
// most looks find nothing else new; readers see the two together.
//
// Lists come from the expiry index alone, which holds the columns. Rows are
// kept in memory from one list to the next, and each list compares the bytes of
// every entry with those that its row was made of: so only what changed is
// decoded, and a list shows the last commit, whatever wrote it. No read keeps a
// transaction open while its caller works, so a slow client cannot make the
// file grow or hold up a commit.
//
// # What can go wrong
//
// One process has the file at a time; another one gets a LockedError that
// names the first. A file that is empty, cut short or not an inventory is a
// DamagedError and a file of a later version a SchemaError; such a file is
// left as it was found. Every value has a checksum over its bucket, its key and
// itself: one that is damaged, or lies under another key, is an EntryError
// whenever it is read. Open follows the numbers of pages, so that a damaged one is
// an error and not the end of the process; what else is wrong with keys and pages
// the full check finds.
// A full disk fails a Commit, nothing of it is kept, and the inventory goes on
// with the next one.
//
// Two sad paths remain. When the disk accepts a commit's last page but then
// refuses to confirm it (fsync fails), the change can be seen although it may
// not be durable; Commit returns an error then, and a caller that repeats the
// transition repeats its events. And when the meta page of the last transaction
// is damaged, bbolt goes on with the one before: Open logs it.
//
// # Words
//
// The package uses the words of package renewer. An index is a bucket that
// could be built again from the others; Reindex does so.
package inventory
