package acme

import "time"

// SetTimeout bounds calls and orders.
func (i *Issuer) SetTimeout(d time.Duration) { i.timeout, i.patience = d, d }
