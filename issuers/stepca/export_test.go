package stepca

import "time"

// SetClock sets the issuer's clock ahead of the machine's.
func (i *Issuer) SetClock(ahead time.Duration) {
	i.now = func() time.Time { return time.Now().Add(ahead) }
}
