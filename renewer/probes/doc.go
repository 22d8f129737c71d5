// Package probes proves placements: it looks at what is on the host, then at
// what is served, as a peer would.
//
// Every kind but none first looks at the files. Then
//
//	file         nothing more
//	tls          a handshake; with mutual, until the server has accepted our client certificate
//	docker       tls, and GET /_ping and /version answered
//	grpc_health  tls, and a health check answered SERVING
//	command      an argument vector on the host that exits with 0
//
// With mutual, each of the three that connect also sees a client without a
// certificate refused.
//
// # What proves acceptance
//
// In TLS 1.2 a finished handshake does. In TLS 1.3 the client finishes before
// the server has looked at its certificate (RFC 8446, section 2), so the probe
// goes on reading. A session ticket, application data or an orderly
// close_notify come only from a server that finished its own handshake. An
// alert is a refusal. A connection that just ends is one too: the alert may be
// lost with it. A server that stays quiet (tickets off, and it waits for the
// client to speak) has accepted as far as the positive check goes, since a
// refusal comes at once; the same quiet never counts as a refusal.
package probes
