// Package hosts places certificates on machines and makes services load them.
//
// How a machine is reached is a Transport; everything else is the same for all
// of them and is done here.
//
// # What lies on a host
//
//	DIR/server-cert.pem            → .renewer/CERT/current/server-cert.pem
//	DIR/server-key.pem             → .renewer/CERT/current/server-key.pem
//	DIR/.renewer/CERT/current      → r2-5be01c77
//	DIR/.renewer/CERT/r0-93a1e0d4/   what was there before renewer, closed unless live
//	DIR/.renewer/CERT/r1-c0ffee12/
//	DIR/.renewer/CERT/r2-5be01c77/
//	DIR/.renewer/.owner/MARK/        which renewer keeps DIR: see mark.go
//
// A revision is named by its number and by the start of a SHA-256 over the
// names, modes, owners and content of its files, so that whether it is whole
// can be seen from the disk alone. It is filled under a temporary name in a
// directory that only its owner may enter, and gets its name by a rename. It
// never changes after that.
//
// # What a reader can see
//
// Every live name is there at every moment, and `current` moves by one rename:
// all files change together. A program that reads the certificate, then the
// key, through the live names can still have the rename fall between its two
// reads. One that must not reads the link `current` once and both files below
// what it names. Services are not in danger: they read when they are started
// or signalled, which comes after the flip.
//
// Plain files under the live names are taken over in this order, each step
// atomic and none of them changing what is read: copy them to r0-HASH8, lead
// `current` there, put a link over each name. Only then `current` moves on.
//
// # The one sad path
//
// Where a transport cannot sync directories, a power failure (not a crash of
// renewer) right after a flip may undo renames. The names then lead to the
// revision before, which is whole.
package hosts
