// Package trust is the graph of who accepts whom, made from what is in place.
//
// A presenter is a placement that shows a leaf: as a server, as a client, or
// both. A verifier is a placement whose ca file is what somebody checks
// presenters with: its usage is complementary, and its trust: names the
// presenter's issuer, or its ca file accepts what the presenter shows.
//
// # Promise
//
//  1. A root leaves a verifier only when no leaf under it is in place at any of
//     its presenters (Wanted).
//  2. A leaf goes live only when every verifier that accepts what its presenter
//     shows now has a root of it in place and loaded (Refusals).
//
// Both hold on every path, because there is no other way to learn what belongs
// into a ca file and whether a leaf may go live. Where nothing is in place there
// is nothing to protect: a placement without a ca file is no verifier, one
// without a leaf no presenter, and a pair that does not work now (an expired
// leaf or root, a root that is missing) holds no one.
//
// A leaf counts until it expires, is revoked, is let go, or its host is retired.
// What is unknown protects: it is never taken for absent.
//
// The graph is kept, not computed: Put costs what changed, and a question costs
// the issuers that a placement trusts, not the placements that exist. It is not
// safe for several goroutines.
package trust
