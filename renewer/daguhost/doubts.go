package daguhost

import "renewer/renewer"

// Doubts says why Dagu might not start again with the settings that its next start
// reads (as 2.15.1 does).
func (f Facts) Doubts() (out []renewer.Doubt) {
	s := f.Settings
	if !f.Loaded {
		return nil
	}
	if f.Serves { // a worker goes on, and tries again
		for _, file := range f.Missing {
			out = append(out, renewer.Doubt{
				Sure: true, Unit: f.Unit, Text: file.Value + " (" + file.From + ") does not exist: a coordinator does not start without it",
				Fix: "correct the path: renewer show " + f.Certificate + " --config-snippet prints what to set",
			})
		}
	}
	one := (s.CertFile.Value == "") != (s.KeyFile.Value == "")
	switch {
	case s.Insecure.From != "" && !s.Insecure.on(true) && s.CertFile.Value == "" && s.KeyFile.Value == "" && s.ClientCAFile.Value == "" && !s.SkipTLSVerify.on(false):
		out = append(out, renewer.Doubt{
			Sure: true, Unit: f.Unit, Text: "peer.insecure is false (" + s.Insecure.From + "), but no file of peer is set: Dagu refuses to start",
			Fix: "set peer.cert_file, peer.key_file and peer.client_ca_file, or remove peer.insecure",
		})
	case one:
		out = append(out, renewer.Doubt{
			Unit: f.Unit, Text: "only one of peer.cert_file and peer.key_file is set: without both it serves plaintext",
			Fix: "set both",
		})
	}
	return out
}
