package acme

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"renewer/internal/atomicfile"
)

// state is what the state file holds: an account for each directory, so that one who
// tries a staging server first comes back to the account that there was.
type state struct {
	Accounts map[string]*account `json:"accounts"`
}

type account struct {
	URL  string   `json:"url,omitempty"` // empty: the server does not know it yet
	Key  []byte   `json:"key"`           // sealed, PEM
	Bind string   `json:"eab,omitempty"` // key id of the external account that it was made for
	CAs  []string `json:"cas,omitempty"` // names that records in the DNS have for the CA
	// Roots are those of this machine that certificates led to, by fingerprint.
	Roots []string `json:"roots,omitempty"`
	// Orders are under way, by certificate.
	Orders map[string]order `json:"orders,omitempty"`
}

// order is one that is not over.
type order struct {
	URL     string   `json:"url"`
	Names   []string `json:"names"`
	Profile string   `json:"profile,omitempty"`
	// Key is the SHA-256 of the public key that it was, or is about to be, finalized
	// for; empty before.
	Key     string    `json:"key,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// goesOn reports whether an order can be continued for the same names and this key.
func (o order) goesOn(names []string, profile, key string, now time.Time) bool {
	return o.URL != "" && slices.Equal(o.Names, names) && o.Profile == profile && (o.Key == "" || o.Key == key) && (o.Expires.IsZero() || now.Before(o.Expires))
}

// files are the locks of state files: after a reload there are two issuers with one file.
var files sync.Map

func lockOf(file string) *sync.Mutex {
	m, _ := files.LoadOrStore(file, new(sync.Mutex))
	return m.(*sync.Mutex)
}

// with reads the state file, calls f, and writes the file if f returns true. It is read
// each time: that an operator removes it is how another account is asked for.
func (i *Issuer) with(f func(a *account) (changed bool, err error)) error {
	mu := lockOf(i.cfg.StateFile)
	mu.Lock()
	defer mu.Unlock()
	st, err := readState(i.cfg.StateFile)
	if err != nil {
		return err
	}
	a := st.Accounts[i.cfg.Directory]
	if a == nil {
		a = &account{}
		st.Accounts[i.cfg.Directory] = a
	}
	changed, err := f(a)
	if err != nil || !changed {
		return err
	}
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(i.cfg.StateFile)
	if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.Write(i.cfg.StateFile, text, 0o600)
}

func readState(file string) (*state, error) {
	st := &state{}
	text, err := atomicfile.ReadSecret(file, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case json.Unmarshal(text, st) != nil:
		return nil, misconfigured("run rm "+file+": the next order creates a new account", "%s is damaged", file)
	}
	if st.Accounts == nil {
		st.Accounts = map[string]*account{}
	}
	return st, nil
}

// claim has a certificate ordered by one call alone. A second one, for another key, makes
// an order of its own, and keeps nothing of it.
func (i *Issuer) claim(certificate string) (mine bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	mine = !i.busy[certificate]
	i.busy[certificate] = true
	return mine
}

func (i *Issuer) unclaim(certificate string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.busy, certificate)
}

// saved returns the order that is under way; zero for none.
func (j *job) saved() (o order, err error) {
	if !j.mine {
		return o, nil
	}
	err = j.with(func(a *account) (bool, error) { o = a.Orders[j.order.Certificate]; return false, nil })
	return o, err
}

// save notes how far the order is, and for which key it is about to be finalized.
func (j *job) save(key string) error {
	if !j.mine {
		return nil
	}
	return j.with(func(a *account) (bool, error) {
		if a.Orders == nil {
			a.Orders = map[string]order{}
		}
		a.Orders[j.order.Certificate] = order{URL: j.is.Location, Names: j.names, Profile: j.cfg.Profile, Key: key, Expires: j.is.Expires}
		return true, nil
	})
}

// drop forgets a finished order.
func (j *job) drop() error {
	if !j.mine {
		return nil
	}
	return j.with(func(a *account) (bool, error) {
		_, there := a.Orders[j.order.Certificate]
		delete(a.Orders, j.order.Certificate)
		return there, nil
	})
}
