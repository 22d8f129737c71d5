package page

import (
	"net/http"

	"renewer/renewer"
)

// issuersPage is the list of issuers and channels.
type issuersPage struct {
	Issuers  []issuer
	Channels []renewer.ChannelStatus
}

type issuer struct {
	renewer.IssuerStatus
	State    string
	Problems []problem
}

func (p *pages) issuers(r *http.Request, f *frame) (any, error) {
	f.Section, f.Title = "issuers", "Issuers and channels"
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	f.Daemon = system.Daemon
	page := issuersPage{Channels: system.Channels}
	for _, i := range system.Issuers {
		state := "up"
		if !i.Up {
			state = "down"
		}
		page.Issuers = append(page.Issuers, issuer{i, state, newProblems(i.Problems(f.Now))})
	}
	return page, nil
}
