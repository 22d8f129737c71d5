// Package pki is the domain's X.509: what the files of a placement hold and how
// it is read back, keys, sets of roots, and the checks of a certificate before
// anybody uses it: what an issuer returned (CheckIssued), what is about to be
// served on a host (Preflight), and what was in place before renewer came
// (Adopted).
//
// Everything here is pure. PEM is RFC 7468, certificates are RFC 5280, private
// keys are written as PKCS #8 (RFC 5958). No error quotes a key.
package pki
