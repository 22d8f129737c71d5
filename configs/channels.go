package configs

import "renewer/renewer"

// channels reads the ways to notify people.
func (l *loader) channels(list []setting) []Channel {
	var out []Channel
	seen := map[string]pos{}
	for _, c := range list {
		s, _ := c.value.(settings)
		if s == nil {
			continue
		}
		ch := Channel{Name: get[string](s, "name"), URLFile: get[string](s, "url_file"), Exec: texts(s, "exec"), Template: get[string](s, "template")}
		if !s.has("name") {
			l.fault(c.at, "the channel has no name", "expected name: a word for messages and metrics")
		} else if first, twice := seen[ch.Name]; twice && ch.Name != "" {
			l.fault(s["name"].at, "a second channel named "+quote(ch.Name), "expected a unique name; "+l.first(first, s["name"].at))
		} else {
			seen[ch.Name] = s["name"].at
		}
		for _, e := range texts(s, "events") {
			ch.Events = append(ch.Events, renewer.EventType(e))
		}
		ways := 0
		for _, k := range []string{"url_file", "webhook", "smtp", "exec"} {
			if s.has(k) {
				ways++
			}
		}
		if ways != 1 {
			l.fault(c.at, "the channel needs exactly one transport", "expected one of url_file, webhook, smtp, exec")
		}
		if hook := get[settings](s, "webhook"); hook != nil {
			ch.WebhookURLFile, ch.WebhookHMACFile = get[string](hook, "url_file"), get[string](hook, "hmac_file")
			if !hook.has("url_file") {
				l.fault(s["webhook"].at, "the webhook has no url_file", "expected url_file: the path of a file that holds the URL")
			}
		}
		if mail := get[settings](s, "smtp"); mail != nil {
			ch.SMTP = SMTP{
				Address: get[string](mail, "address"), From: get[string](mail, "from"), To: texts(mail, "to"),
				Username: get[string](mail, "username"), PasswordFile: get[string](mail, "password_file"),
				TLS: get[string](mail, "tls"), CACert: get[string](mail, "ca_cert"),
			}
			for _, k := range []string{"address", "from", "to"} {
				if !mail.has(k) {
					l.fault(s["smtp"].at, "smtp has no "+k, "expected {address: HOST:PORT, from: ADDRESS, to: [ADDRESS]}")
				}
			}
		}
		if login := ch.SMTP.Username != "" || ch.SMTP.PasswordFile != ""; login && ch.SMTP.TLS == "none" {
			l.fault(s["smtp"].at, "smtp would send the password over an unencrypted connection", "expected tls: starttls or implicit, or no username")
		}
		out = append(out, ch)
	}
	return out
}
