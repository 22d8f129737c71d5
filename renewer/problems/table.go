package problems

// The problems.
const (
	CertificateExpired      ID = "certificate_expired"
	RevokedInUse            ID = "revoked_in_use"
	RestoreFailed           ID = "restore_failed"
	ServedExpired           ID = "served_expired"
	ServedDiffers           ID = "served_differs"
	CertificateExpiringSoon ID = "certificate_expiring_soon"
	RolledBack              ID = "rolled_back"
	RolloutBlocked          ID = "rollout_blocked"
	ServedUnproven          ID = "served_unproven"
	Drifted                 ID = "drifted"
	CertificateExpiring     ID = "certificate_expiring"
	RenewalOverdue          ID = "renewal_overdue"
	NeverIssued             ID = "never_issued"
	RenewalFailed           ID = "renewal_failed"
	GateWaiting             ID = "gate_waiting"
	OrphanedExpiring        ID = "orphaned_expiring"
	ProofOld                ID = "proof_old"
	BudgetExceeded          ID = "budget_exceeded"
	HostUnreachable         ID = "host_unreachable"
	IssuerDown              ID = "issuer_down"
	CAExpiringSoon          ID = "ca_expiring_soon"
	CAExpiring              ID = "ca_expiring"
	CARotationBlocked       ID = "ca_rotation_blocked"
	DaemonDown              ID = "daemon_down"
	DaemonAbsent            ID = "daemon_absent"
	DaemonRestarting        ID = "daemon_restarting"
	CheckNotRunning         ID = "check_not_running"
	FleetFileRefused        ID = "fleet_file_refused"
	NotifyFailing           ID = "notify_failing"
	NotifyStuck             ID = "notify_stuck"
)

const onlyOutside = "only Prometheus sees it, from outside"

// The rows of certificates come first, the worst first within each severity: of
// several that hold, status shows the first.
var table = []Row{
	{
		ID: CertificateExpired, Severity: Critical, Runbook: "RenewerCertificateExpired", Events: []string{"expired"},
		Checks:   []string{"expiry"},
		Meaning:  "The certificate in place has expired and was not renewed; clients that check it refuse the connection",
		Commands: []string{"renewer show {certificate}", "renewer renew {certificate}"},
		Opens:    "the certificate in place expires",
		Closes:   "a certificate that has not expired is proven in place, or its entry leaves the fleet file",
	},
	{
		ID: RevokedInUse, Severity: Critical, Runbook: "RenewerRevokedInUse",
		Meaning:  "The certificate in place is revoked; peers that check revocation refuse it, the others still trust it",
		Commands: []string{"renewer show {certificate}", "renewer renew {certificate}"},
		Opens:    "the certificate in place is revoked (alert: when it lasts 30 minutes)",
		Closes:   "another certificate is proven in place, or the entry leaves the fleet file",
	},
	{
		ID: RestoreFailed, Severity: Critical, Runbook: "RenewerRestoreFailed", Events: []string{"restore_failed"},
		Meaning:  "The activation or probe of a new certificate failed, and so did that of the previous one; the service may be down",
		Commands: []string{"renewer doctor {host}", "renewer show {certificate}", "renewer renew {certificate}"},
		Opens:    "neither the new nor the previous certificate can be activated and proven on a host",
		Closes:   "a probe of that host succeeds, with the new or the previous certificate, or its rollout is done",
	},
	{
		ID: ServedExpired, Severity: Critical, Runbook: "RenewerServedExpired",
		Meaning:  "A host serves an expired certificate, although a valid one was issued; clients of that host refuse the connection",
		Commands: []string{"renewer verify {certificate}", "renewer doctor {host}"},
		Opens:    "the last probe of a host saw a certificate that has expired by now",
		Closes:   "a probe sees a certificate that has not expired",
	},
	{
		ID: ServedDiffers, Severity: Critical, Runbook: "RenewerServedDiffers",
		Checks:   []string{"served"},
		Meaning:  "A host has or serves another certificate than renewer placed, and renewer could not restore its own",
		Commands: []string{"renewer verify {certificate}", "renewer doctor {host}"},
		Opens:    "what a probe sees has differed for 10 minutes",
		Closes:   "a probe sees what was issued",
	},
	{
		ID: CertificateExpiringSoon, Severity: Critical, Runbook: "RenewerCertificateExpiringSoon",
		Meaning:  "The certificate in place expires within 3 days and its renewal, which was due, has not succeeded",
		Commands: []string{"renewer show {certificate}", "renewer renew {certificate}"},
		Opens:    "less than 3 days and 7 % of the lifetime are left, and a tenth of the time since the renew time has passed",
		Closes:   "the renewed certificate is proven on every host",
	},
	{
		ID: RolledBack, Severity: Warning, Runbook: "RenewerRolledBack", Events: []string{"rolled_back"},
		Meaning:  "The activation or probe of the new certificate failed on a host; the previous one was restored and is served, and the rollout stopped",
		Commands: []string{"renewer show {certificate}", "renewer doctor {host}", "renewer renew {certificate}"},
		Opens:    "a host goes back to the previous certificate",
		Closes:   "a new certificate is proven on the host",
	},
	{
		ID: RolloutBlocked, Severity: Warning, Runbook: "RenewerRolloutBlocked", Events: []string{"rollout_blocked"},
		Checks:   []string{"blocked"},
		Meaning:  "A rollout is blocked and needs manual action; hosts that it did not reach keep the current certificate",
		Commands: []string{"renewer show {certificate}", "renewer doctor {host}", "renewer renew {certificate}"},
		Opens:    "a rollout fails in a way that a retry does not solve, or a guard reaches its deadline",
		Closes:   "a rollout of the certificate succeeds, or the entry changes",
	},
	{
		ID: ServedUnproven, Severity: Warning, Runbook: "RenewerServedUnproven", Events: []string{"unreachable"},
		Checks:   []string{"connection-refused", "keeper", "client-refused"},
		Meaning:  "The service cannot be reached or probed, so it is unknown which certificate it serves; the service may be down",
		Commands: []string{"renewer doctor {host}", "renewer verify {certificate}"},
		Opens:    "a probe of a host fails without seeing a certificate",
		Closes:   "a probe sees what was issued",
	},
	{
		ID: Drifted, Severity: Warning, Runbook: "RenewerDrifted", Events: []string{"drifted"},
		Meaning:  "A host has or serves another certificate, or other files, than renewer placed; renewer tries to restore them",
		Commands: []string{"renewer verify {certificate}", "renewer history {certificate} --since 2h"},
		Opens:    "a probe sees something else than was placed (status: until it is restored; alert: for an hour after it)",
		Closes:   "a probe sees what was placed",
	},
	{
		ID: CertificateExpiring, Severity: Warning, Runbook: "RenewerCertificateExpiring", Events: []string{"expiring"},
		Meaning:  "The certificate in place expires soon and its renewal, which was due, has not succeeded",
		Commands: []string{"renewer show {certificate}", "renewer renew {certificate}"},
		Opens:    "less than 14 days and 20 % of the lifetime are left, and a tenth of the time since the renew time has passed",
		Closes:   "the renewed certificate is proven on every host",
	},
	{
		ID: RenewalOverdue, Severity: Warning, Runbook: "RenewerRenewalOverdue",
		Meaning:  "The renewal is overdue: a quarter of the time between the renew time and the expiry has passed without success",
		Commands: []string{"renewer show {certificate}", "renewer renew {certificate}"},
		Opens:    "a quarter of the time between the renew time and the expiry has passed",
		Closes:   "the renewed certificate is proven on every host",
	},
	{
		ID: NeverIssued, Severity: Warning, Runbook: "RenewerNeverIssued",
		Meaning:  "The first certificate of an entry was not issued, or is not proven on its hosts",
		Commands: []string{"renewer show {certificate}", "renewer check --online"},
		Opens:    "the first order or its rollout fails (alert: pending for an hour)",
		Closes:   "the first certificate is proven on every host, or the entry leaves the fleet file",
	},
	{
		ID: RenewalFailed, Severity: Warning, Runbook: "RenewerRenewalOverdue", Events: []string{"renewal_failed", "stage_failed"},
		NoAlert:  "renewer retries by itself; RenewerRenewalOverdue fires if that does not help",
		Checks:   []string{"rollout"},
		Meaning:  "A renewal failed and is retried; the current certificate stays in place",
		Commands: []string{"renewer show {certificate}", "renewer doctor {host}"},
		Opens:    "an order fails, or a host does not take the new files",
		Closes:   "the next attempt succeeds",
	},
	{
		ID: GateWaiting, Severity: Warning, Runbook: "RenewerGateWaiting",
		Meaning:  "A renewed certificate waits because a peer would refuse it: that peer does not trust its root yet",
		Commands: []string{"renewer show {certificate}", "renewer impact {certificate}", "renewer doctor {host}"},
		Opens:    "a certificate has waited for 15 minutes for a peer to have its root in place and loaded",
		Closes:   "the peer has the root, or the certificate goes live without it",
	},
	{
		ID: OrphanedExpiring, Severity: Warning, Runbook: "RenewerOrphanedExpiring",
		Meaning:  "A certificate that left the fleet file is still in place and expires within 14 days; renewer does not renew it",
		Commands: []string{"renewer impact {certificate} --removed", "renewer forget {certificate}"},
		Opens:    "less than 14 days are left of a certificate that left the fleet file and is still in place",
		Closes:   "its entry is back, it is forgotten, or it has expired",
	},
	{
		ID: ProofOld, Severity: Warning, Runbook: "RenewerProofOld",
		Meaning:  "The last successful probe is more than 3 days old, so what is known of the host may be out of date",
		Commands: []string{"renewer verify {certificate}", "renewer status"},
		Opens:    "the last successful probe of a host is more than 3 days old",
		Closes:   "a probe succeeds",
	},
	{
		ID: BudgetExceeded, Severity: Warning, Runbook: "RenewerBudgetExceeded", Events: []string{"budget_exceeded"},
		NoStatus: "the restart has already ended when renewer measures it",
		Meaning:  "A service took longer than its restart budget to load its certificate; peers that depend on it may have given up",
		Commands: []string{"renewer history {certificate} --since 2h", "renewer show {certificate}"},
		Opens:    "a restart takes longer than the budget: of the activation",
		Closes:   "an hour has passed since (alert); a message about it has no end",
	},
	{
		ID: HostUnreachable, Severity: Warning, Runbook: "RenewerHostUnreachable",
		Checks:   []string{"reach", "sudo"},
		Meaning:  "renewer cannot log in to a host or write there; its certificates stay in place and cannot be renewed or probed",
		Commands: []string{"renewer doctor {host}", "renewer status"},
		Opens:    "a host cannot be reached (alert: when it lasts 15 minutes)",
		Closes:   "a connection succeeds; it is retried every minute",
	},
	{
		ID: IssuerDown, Severity: Warning, Runbook: "RenewerIssuerDown", Events: []string{"issuer_down"},
		Checks:   []string{"issuer"},
		Meaning:  "An issuer does not answer or refuses the login; certificates in place stay valid, and none can be renewed there",
		Commands: []string{"renewer check --online", "renewer list --issuer {issuer}"},
		Opens:    "an issuer does not answer as it should (alert: when it lasts 15 minutes)",
		Closes:   "the issuer answers",
	},
	{
		ID: CAExpiringSoon, Severity: Critical, Runbook: "RenewerCAExpiringSoon",
		Meaning:  "A CA expires within 30 days; lifetimes shrink, and every certificate under it is refused when it expires",
		Commands: []string{"renewer ca show {issuer}", "renewer impact {issuer} --expired"},
		Opens:    "less than 30 days of a CA of an issuer are left",
		Closes:   "the issuer no longer has that CA, or has one of that name that expires later",
	},
	{
		ID: CAExpiring, Severity: Warning, Runbook: "RenewerCAExpiring",
		Meaning:  "A CA expires within 90 days; the next CA has to be trusted everywhere before that",
		Commands: []string{"renewer ca show {issuer}", "renewer impact {issuer} --expired"},
		Opens:    "less than 90 days of a CA of an issuer are left",
		Closes:   "the issuer no longer has that CA, or has one of that name that expires later",
	},
	{
		ID: CARotationBlocked, Severity: Warning, Runbook: "RenewerCARotationBlocked", Events: []string{"ca_rotation_waiting"},
		Meaning:  "The replacement of a CA is blocked and needs manual action; no certificate is refused meanwhile",
		Commands: []string{"renewer ca show {issuer}", "renewer status"},
		Opens:    "everything that the replacement waits for needs manual action (alert: when it lasts 15 minutes)",
		Closes:   "the replacement goes on, is done, or is cancelled",
	},
	{
		ID: DaemonDown, Severity: Critical, Runbook: "RenewerDown", NoStatus: onlyOutside,
		Meaning:  "Prometheus cannot scrape a renewer that it scraped before; nothing is renewed while the daemon is down",
		Commands: []string{"systemctl status renewer", "journalctl -u renewer -n 50"},
		Opens:    "a scrape has failed for 5 minutes",
		Closes:   "a scrape succeeds",
	},
	{
		ID: DaemonAbsent, Severity: Critical, Runbook: "RenewerAbsent", NoStatus: onlyOutside,
		Meaning:  "No target of Prometheus has metrics of renewer, so none of the other alerts can fire",
		Commands: []string{"curl -s http://127.0.0.1:9925/metrics", "promtool check config /etc/prometheus/prometheus.yml"},
		Opens:    "no target has had renewer_build_info for 20 minutes",
		Closes:   "a target has renewer's metrics",
	},
	{
		ID: DaemonRestarting, Severity: Warning, Runbook: "RenewerRestarting", NoStatus: onlyOutside,
		Meaning:  "The daemon restarts again and again; alerts with a waiting time may not fire meanwhile",
		Commands: []string{"journalctl -u renewer -n 100", "systemctl status renewer"},
		Opens:    "the daemon was started more than 4 times within an hour",
		Closes:   "the daemon runs for an hour",
	},
	{
		ID: CheckNotRunning, Severity: Critical, Runbook: "RenewerCheckNotRunning",
		Meaning:  "The daemon runs, but its last check is older than two intervals of its schedule; nothing is renewed",
		Commands: []string{"renewer status", "journalctl -u renewer -n 50", "systemctl restart renewer"},
		Opens:    "the last check is older than two intervals and a minute",
		Closes:   "a check ends",
	},
	{
		ID: FleetFileRefused, Severity: Warning, Runbook: "RenewerFleetFileRefused",
		Meaning:  "The fleet file has faults, so the daemon keeps the last good one; its changes have no effect, and a restart would fail",
		Commands: []string{"renewer check", "systemctl reload renewer"},
		Opens:    "a reload finds faults in the fleet file",
		Closes:   "a reload succeeds",
	},
	{
		ID: NotifyFailing, Severity: Warning, Runbook: "RenewerNotifyFailing",
		Meaning:  "Notifications fail: the channel is not delivering; messages are kept and retried",
		Commands: []string{"renewer notify test {channel}", "renewer status"},
		Opens:    "a message to a channel fails (alert: when it lasts 10 minutes)",
		Closes:   "a message is delivered",
	},
	{
		ID: NotifyStuck, Severity: Warning, Runbook: "RenewerNotifyStuck",
		Meaning:  "Notifications have waited for 2 hours although no delivery failed: the channel cannot read or write its state",
		Commands: []string{"renewer status", "journalctl -u renewer -n 200"},
		Opens:    "a message has waited for 2 hours and no attempt failed",
		Closes:   "the message is delivered",
	},
}
