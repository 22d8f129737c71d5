// Package rotation decides how the CA of an issuer is replaced by the next one.
//
// # Promise
//
// The stage follows from what is in place, and from nothing else: Decide is asked
// again after whatever happened, a crash included, and answers the same for the
// same observations. What it wants of others is small: that signing is switched,
// and how long the old root is still to be trusted.
//
//	add_root   the next root goes into every ca file and is loaded
//	           → signing is switched
//	reissue    certificates are reissued, under the new root
//	keep       the old root stays for clients that renewer does not manage (Keep)
//	drop_root  the old root leaves every ca file
//	done
//
// and, until signing is switched:
//
//	cancel     the next root leaves every ca file again
//	cancelled
//
// That no request is refused on the way is not decided here: package trust keeps
// a root as long as a leaf needs it, and a leaf back until its root is loaded, on
// every path. The stages only bring it about that neither has to wait for long.
//
// A rotation because the key is compromised switches first: nothing is signed with
// that key any more. In drop_root no leaf keeps the old root, whatever presents it.
package rotation
