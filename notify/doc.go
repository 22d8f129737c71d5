// Package notify sends messages about problems with certificates: for each
// channel it follows the event log and sends few, complete messages.
//
// # Promises
//
// Nothing is lost. A channel's cursor and all it knows are one state, saved
// durably beside the log. A message is saved before it is sent, and sent until
// it is delivered. After a crash the same message is sent again under the same
// ID, so it arrives at least once and a second copy is known as one.
//
// Few messages. Events become problems, by kind, certificate and host. A
// message opens a problem, repeats are silent, and another message resolves it.
// What happens together is one message. Messages keep a distance and have a
// limit an hour; what happens meanwhile is in the next one.
//
// Resolved only after opened. A channel never gets a resolved message for a
// problem that none of its messages opened. One that came and went between two
// messages is a notice, or left out where nothing follows from it.
//
// Nothing waits for a channel. The queue is the log itself, each channel has a
// goroutine of its own, and what it holds in memory is bounded by the fleet.
//
// No secret is shown. URLs, keys and passwords are of type secret.Text and are
// removed from every error.
//
// # What can go wrong
//
// A channel whose state cannot be read starts at the end of the log, with an
// error in the daemon's log. A state that is newer than the log cannot be: both
// are in one file, and one backup has both.
//
// # Words
//
// A channel is an entry of notify: in the fleet file. A problem is open from the
// event that opens it to the one that closes it; what it means and which
// commands come first is in the catalogue (package problems). A notice is for
// information. News is what no message has yet.
package notify
