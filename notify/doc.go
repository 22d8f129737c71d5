// Package notify tells people what happened to their certificates: it follows
// the event log for each channel and sends few, whole messages.
//
// # Promises
//
// Nothing is lost. A channel's cursor and all it knows are one state, saved
// durably beside the log; a message is saved before it is sent, and sent until
// it is taken. After a crash the same message goes out again under the same
// ID, so that it arrives at least once and can be told from another one.
//
// Few messages. Events become problems, by kind, certificate and host. A
// problem is told when it opens, not when it repeats, and once more when it is
// over; what happens together is one message; what is over before it was told,
// and of no consequence, is not told at all. Messages keep a distance and have
// a limit an hour; what comes meanwhile waits for the next one.
//
// Nobody waits. The queue is the log itself, each channel has a goroutine of
// its own, and what it holds in memory is bounded by the fleet.
//
// No secret is shown: URLs, keys and passwords are of type secret.Text and
// taken out of every error before anybody sees it.
//
// # What can go wrong
//
// A channel whose state cannot be read begins anew at the end of the log, with
// an error in the daemon's log. A state that is newer than the log cannot be:
// both are in one file, and one backup has both.
//
// # Words
//
// A channel is an entry of notify: in the fleet file. A problem is open until
// an event ends it. A notice has no end. News is what was not told yet.
package notify
