// Package remote reaches hosts over SSH.
//
// A [Client] is this side of all connections: whose ~/.ssh is read and which
// agent is asked. A [Transport] is one host. It has one connection for
// everything, opened when it is first needed, shared by all who use the host,
// opened again after it was lost and closed when no one has used it for a
// minute. The connection carries one SFTP session for all files and one more
// session for each command that runs.
//
// # Who the host is
//
// Only known_hosts(5) says: names and addresses, hashed ones too, @cert-authority
// and @revoked. A host that it does not know ([UnknownHostKeyError]), that shows
// another key ([ChangedHostKeyError]) or one that is revoked
// ([RevokedHostKeyError]) is refused before anybody logs in, and the error tells
// the fix. Nothing is ever learned by itself. Keys and signatures with SHA-1
// or DSA are not spoken. A line that is not understood is skipped and reported once;
// it takes nothing from other lines, @revoked first of all.
//
// # As ssh(1) does it
//
// What the fleet file does not say, ~/.ssh/config and /etc/ssh/ssh_config do:
// Host, Match (all, final, canonical, host, originalhost, user, localuser, exec),
// Include; HostName, Port, User, HostKeyAlias, IdentityFile, IdentitiesOnly,
// IdentityAgent, CertificateFile, ProxyJump, ProxyCommand, AddressFamily, BindAddress,
// CanonicalizeHostname with what belongs to it, UserKnownHostsFile, GlobalKnownHostsFile,
// KnownHostsCommand and RevokedHostKeys (keys as text); a tilde, tokens and ${VARIABLES}
// where ssh(1) replaces them. What else would change the way to a host is reported once, and
// said again in the error where the host is not reached.
// Where nothing names a key, the agent's and the usual files are tried.
//
// # Rights
//
// With sudo, commands and the SFTP server run under `sudo -n`. File contents
// travel inside the SFTP session and never stand on a command line. A user who may
// start sftp-server as root may write every file: it is as good as root.
//
// Root works only where no one else can change the way ([hosts.Way]). A
// directory from which on all belongs to another user is worked in as that user
// (`sudo -n -u '#UID'`): a link that they put there leads to nothing that is not
// theirs. A file of another owner in it is made by a server of root's that runs
// in the directory (sftp-server -d), which has made sure where it is; read by
// root is only what its mode keeps from that user anyway.
//
// # Answers
//
// A command's answer is its standard output behind a mark that the account's
// shell prints first. What shells print besides changes nothing; an account
// that does not print the mark runs no commands ([NoCommandsError]), and files
// can be placed there all the same. Every answer is bounded in bytes, names and
// time (internal/sftp).
//
// # What stalls
//
// A host that stalls holds up only who uses it: connecting, each file operation
// and each start of a session have a time limit, a keepalive finds a peer that
// is gone, and everything ends with its context. An operation that was given up
// may still happen on the host. Errors of connections wrap [ErrLost]: what was
// under way may or may not have been done.
//
// # What it costs
//
// Every request is a journey, so requests go as lists. What a placement looks at
// (hosts.Ahead) is asked in one journey, together with the way to the directory and
// the greeting of the SFTP server; what that has opened is read in a second one. A
// revision is begun with that second one, filled and read back in the next, and named
// in the last. A link is put and synced in one, a revision is removed in one. So a
// renewal makes 17 journeys one after the other, 7 of which are SSH's own.
//
// What was seen counts while the Dir is open, and for the call that follows within
// seconds and says so (Flip after Stage, Prune after Inspect); a proof always looks
// again. Where a list is wrong, because something else is there, what is missing is
// asked one by one. Where the order decides what a crash leaves behind, nothing else
// that writes is under way. Only what is in renewer's own store is opened before it is
// known what it is: a pipe there holds up the session, which is given up at once.
//
// # What SFTP cannot do
//
// SFTP works by path names, not by open directories. A Dir therefore resolves
// its own path once, and refuses names that lead out of it. Who could change
// that path afterwards is root, or the user with whose rights it is worked in;
// without sudo, users who may write in the directories above.
// Chmod and ReadFile look first whether their name is a link, or have looked; what
// they report of a file is what was opened. Create is exclusive, Rename, Remove and
// Link follow nothing.
//
// Files and directories are made durable with fsync@openssh.com, on a directory
// through a handle that OpenSSH's server lets open for reading. A server without
// that extension syncs nothing: after a power failure (not after a crash of
// renewer) a flip may be undone. One without posix-rename@openssh.com is refused.
//
// OpenSSH's server reports most errors as a mere "Failure". A full or read-only
// file system is then found by asking for its figures; a quota is not.
//
// A command that is given up gets TERM, then KILL, and its session is closed.
// sshd sends no signals to what runs under sudo, nor where the login account is
// root: there timeout(1) of the host ends it, three seconds after its deadline.
// Where sudo does not let the user run that, or there is none, such a command
// may run to its own end.
package remote
