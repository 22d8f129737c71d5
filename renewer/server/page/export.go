package page

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"renewer/internal/plaintext"
	"renewer/renewer"
)

// export serves the list of certificates as a file, filtered and sorted as the
// page that links to it. It is made as a whole before the first byte is sent.
func (p *pages) export(mime string, write func(*bytes.Buffer, []renewer.Row) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, now := parseFilter(r.URL.Query()), p.Now()
		rows, n := []renewer.Row{}, f.needle()
		err := p.Source.List(r.Context(), renewer.ListFilter{}, func(row renewer.Row) error {
			if f.matches(row, now, n) {
				rows = append(rows, row)
			}
			return nil
		})
		var out bytes.Buffer
		if err == nil {
			err = write(&out, f.sorted(rows))
		}
		if err != nil {
			p.Log.Error("a list was not exported", "path", r.URL.Path, "error", err)
			http.Error(w, "error: "+plaintext.Text(err.Error()), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", mime)
		w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
		_, _ = w.Write(out.Bytes()) // the client has gone if it fails
	})
}

// asJSON is what `renewer list -o json` prints.
func asJSON(out *bytes.Buffer, rows []renewer.Row) error {
	for i := range rows {
		if rows[i].SANs == nil {
			rows[i].SANs = []string{}
		}
	}
	text, err := json.MarshalIndent(rows, "", "  ")
	out.Write(append(text, '\n'))
	return err
}

// csvColumns are those of `renewer list -o csv`.
var csvColumns = []string{
	"name", "status", "generation", "not_after", "renew_at", "issuer", "hosts", "serial", "fingerprint_sha256", "common_name", "sans", "key", "not_before",
}

func asCSV(out *bytes.Buffer, rows []renewer.Row) error {
	w := csv.NewWriter(out)
	_ = w.Write(csvColumns) // Error has it
	for _, r := range rows {
		var hosts []string
		for _, h := range r.Hosts {
			name := h.Name
			if h.State != renewer.HostVerified {
				name += "(" + string(h.State) + ")"
			}
			hosts = append(hosts, name)
		}
		cells := []string{
			r.Name, string(r.Status), strconv.Itoa(r.Generation), stamp(r.NotAfter), stamp(r.RenewAt), r.Issuer, strings.Join(hosts, " "),
			r.Serial, r.Fingerprint, r.CommonName, strings.Join(r.SANs, " "), string(r.Key), stamp(r.NotBefore),
		}
		for i, c := range cells {
			cells[i] = noFormula(plaintext.Text(c))
		}
		_ = w.Write(cells)
	}
	w.Flush()
	return w.Error()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// noFormula keeps a spreadsheet from computing what a certificate's subject says.
func noFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
