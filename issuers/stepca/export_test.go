package stepca

import "time"

// SetClock sets the issuer's clock ahead of the machine's.
func (i *Issuer) SetClock(ahead time.Duration) {
	i.now = func() time.Time { return time.Now().Add(ahead) }
}

// SetTimeout sets how long a call may take.
func (i *Issuer) SetTimeout(d time.Duration) { i.timeout = d }
