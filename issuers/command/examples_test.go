package command_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/command"
	"renewer/issuers/issuertest"
	"renewer/renewer"
)

// example returns the path of a program in examples/issuers, and skips the test where what
// it needs is not installed.
func example(t *testing.T, name string, needs ...string) string {
	t.Helper()
	for _, program := range needs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: %v", program, err)
		}
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", "issuers", name))
	must(t, err)
	return path
}

// The whole suite, with the real cfssl.
func TestCFSSL(t *testing.T) {
	t.Parallel()
	program := example(t, "cfssl/sign", "cfssl", "cfssljson", "openssl")
	issuertest.Run(t, issuertest.Harness{New: func(t *testing.T) issuertest.Issuer {
		dir := t.TempDir()
		ca := testpki.New(t)
		testpki.WriteFile(t, dir+"/ca.pem", ca.PEM(), 0o600)
		testpki.WriteFile(t, dir+"/ca-key.pem", ecKey(t, testpki.KeyPEM(t, ca.Key)), 0o600)
		return command.New(command.Config{Name: "corp", Sign: []string{program, dir}, RootFile: dir + "/ca.pem"})
	}})
}

// ecKey writes a key as openssl ecparam does.
func ecKey(t *testing.T, pkcs8 []byte) []byte {
	t.Helper()
	cmd := exec.Command("openssl", "pkey", "-traditional")
	cmd.Stdin = bytes.NewReader(pkcs8)
	out, err := cmd.Output()
	must(t, err)
	return out
}

// standIn is a server of some product, with a CA behind it. What waits is not signed yet.
type standIn struct {
	t    *testing.T
	dir  string // of the CA, and of the example's files
	root string
	url  string

	mu      sync.Mutex
	waits   bool
	refuses bool
	kept    map[string]json.RawMessage
}

func newStandIn(t *testing.T, secure bool, serve func(s *standIn, w http.ResponseWriter, r *http.Request)) *standIn {
	t.Helper()
	s := &standIn{t: t, dir: t.TempDir(), kept: map[string]json.RawMessage{}}
	s.root = authority(t, s.dir)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		serve(s, w, r)
	}))
	if secure {
		own := testpki.New(t)
		server.TLS = own.Server(own.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}}))
		server.TLS.ClientAuth = tls.RequestClientCert
		server.StartTLS()
		testpki.WriteFile(t, s.dir+"/own.pem", own.PEM(), 0o600)
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *standIn) sign(csr []byte) []byte {
	chain, err := sign(s.dir, "sign", time.Hour, csr)
	if err != nil {
		s.t.Errorf("the stand-in cannot sign: %v", err)
	}
	return chain
}

func (s *standIn) set(waits, refuses bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits, s.refuses = waits, refuses
}

// goThrough has an order that waits, and then is signed; one that is signed at once; and
// one that is refused.
func (s *standIn) goThrough(argv []string, refusal string) (signed renewer.Chain) {
	s.t.Helper()
	i := command.New(command.Config{Name: "corp", Sign: argv, RootFile: s.root, Timeout: 30 * time.Second})
	o := order(s.t)
	s.set(true, false)
	for range 2 {
		if _, err := i.Sign(s.t.Context(), o); !errors.Is(err, renewer.ErrLater) {
			s.t.Errorf("that waits: %v", err)
		}
	}
	s.set(false, false)
	chain, err := i.Sign(s.t.Context(), o)
	if err != nil || len(chain.Intermediates) != 1 {
		s.t.Fatalf("that waited: %d above, %v", len(chain.Intermediates), err)
	}
	if chain, err = i.Sign(s.t.Context(), order(s.t)); err != nil || chain.Leaf.Subject.CommonName != "host-b" {
		s.t.Errorf("at once: %v", err)
	}
	s.set(false, true)
	if _, err = i.Sign(s.t.Context(), order(s.t)); renewer.ClassOf(err) != retry || errors.Is(err, renewer.ErrLater) || !strings.Contains(err.Error(), refusal) {
		s.t.Errorf("refused: %v", err)
	}
	return chain
}

func TestCertManager(t *testing.T) {
	t.Parallel()
	program := example(t, "cert-manager/sign", "kubectl", "jq", "openssl")
	const path = "/apis/cert-manager.io/v1/namespaces/pki/certificaterequests"
	s := newStandIn(t, false, func(s *standIn, w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, path), "/")
		w.Header().Set("Content-Type", "application/json")
		var object struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Spec struct {
				Request   []byte            `json:"request"`
				Duration  string            `json:"duration"`
				Usages    []string          `json:"usages"`
				IssuerRef map[string]string `json:"issuerRef"`
			} `json:"spec"`
			Status map[string]any `json:"status,omitempty"`
		}
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&object); err != nil {
				t.Error(err)
			}
			name = object.Metadata.Name
			s.kept[name], _ = json.Marshal(object)
			w.WriteHeader(http.StatusCreated)
		}
		kept, known := s.kept[name]
		switch {
		case !known:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"not found","code":404}`)
			return
		case r.Method == http.MethodDelete:
			delete(s.kept, name)
		}
		if err := json.Unmarshal(kept, &object); err != nil {
			t.Error(err)
		}
		if s.waits || s.refuses || r.Method == http.MethodPost && name[len(name)-1]%2 == 0 { // not all is there at once
			object.Status = map[string]any{"conditions": []map[string]string{{"type": "Ready", "status": "False", "reason": map[bool]string{false: "Pending", true: "Failed"}[s.refuses], "message": "waits for an approver"}}}
		}
		if !s.waits && !s.refuses {
			if object.Spec.Duration != "3600s" || object.Spec.IssuerRef["name"] != "corp" || strings.Join(object.Spec.Usages, ",") != "digital signature,server auth" {
				t.Errorf("asked for %+v", object.Spec)
			}
			object.Status = map[string]any{"certificate": s.sign(object.Spec.Request), "conditions": []map[string]string{{"type": "Ready", "status": "True", "reason": "Issued"}}}
		}
		_ = json.NewEncoder(w).Encode(object)
	})
	kubeconfig := s.dir + "/kubeconfig"
	testpki.WriteFile(t, kubeconfig, fmt.Appendf(nil, "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: %q}}]\nusers: [{name: a, user: {token: t}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\n", s.url), 0o600)
	s.goThrough([]string{program, kubeconfig, "pki", "ClusterIssuer", "corp"}, "refuses CertificateRequest pki/renewer-")
	if len(s.kept) > 0 {
		t.Errorf("what is finished is left there: %v", s.kept)
	}
}

func TestEJBCA(t *testing.T) {
	t.Parallel()
	program := example(t, "ejbca/sign", "curl", "jq", "openssl")
	s := newStandIn(t, true, func(s *standIn, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := func(code int, v any) {
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(v)
		}
		switch {
		case len(r.TLS.PeerCertificates) == 0:
			answer(http.StatusForbidden, map[string]any{"error_code": 403, "error_message": "Not authorized"})
		case r.Method == http.MethodPut:
			s.kept["revoked"], _ = json.Marshal(r.URL.EscapedPath() + "?" + r.URL.RawQuery)
			answer(http.StatusOK, map[string]any{"revoked": true})
		case s.refuses:
			answer(http.StatusBadRequest, map[string]any{"error_code": 400, "error_message": "Wrong username or password"})
		case s.waits:
			answer(http.StatusAccepted, map[string]any{"message": "Approval request 17 was added"})
		default:
			var asked map[string]any
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				t.Error(err)
			}
			if asked["password"] != "enroll" || asked["username"] != "docker@host-b" || asked["certificate_authority_name"] != "ManagementCA" || asked["include_chain"] != true {
				t.Errorf("asked for %+v", asked)
			}
			var ders []string
			for rest := s.sign([]byte(asked["certificate_request"].(string))); ; {
				var block *pem.Block
				if block, rest = pem.Decode(rest); block == nil {
					break
				}
				ders = append(ders, base64.StdEncoding.EncodeToString(block.Bytes))
			}
			answer(http.StatusCreated, map[string]any{"certificate": ders[0], "certificate_chain": ders[1:], "response_format": "DER"})
		}
	})
	dir := s.dir + "/ejbca"
	must(t, os.Mkdir(dir, 0o700))
	client := testpki.New(t).Leaf(t, testpki.Options{Usages: testpki.ClientUsage})
	own, err := os.ReadFile(s.dir + "/own.pem")
	must(t, err)
	for name, text := range map[string][]byte{
		"settings": []byte("url=" + s.url + "/ejbca/ejbca-rest-api\nca=ManagementCA certificate_profile=SERVER end_entity_profile=RENEWER\n"),
		"ca.pem":   own, "client.pem": client.CertPEM, "client-key.pem": client.KeyPEM, "password": []byte("enroll\n"),
	} {
		testpki.WriteFile(t, filepath.Join(dir, name), text, 0o600)
	}
	chain := s.goThrough([]string{program, dir}, "EJBCA answers 400: Wrong username or password")
	i := command.New(command.Config{Name: "corp", Sign: []string{program, dir}, Revoke: []string{example(t, "ejbca/revoke"), dir}, RootFile: s.root})
	must(t, i.Revoke(t.Context(), renewer.Revocation{Certificate: "docker@host-b", Serial: renewer.SerialHex(chain.Leaf), Reason: "superseded", Chain: chain}))
	if got, want := string(s.kept["revoked"]), `"/ejbca/ejbca-rest-api/v1/certificate/CN%3DCorp%20Issuing%20CA/`+renewer.SerialHex(chain.Leaf)+`/revoke?reason=SUPERSEDED"`; got != want {
		t.Errorf("revoked %s, want %s", got, want)
	}
}

func TestADCS(t *testing.T) {
	t.Parallel()
	program := example(t, "adcs/sign", "curl", "jq", "openssl")
	s := newStandIn(t, true, func(s *standIn, w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "renewer" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="certsrv"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		id := r.FormValue("ReqID")
		page := func(text string) { _, _ = io.WriteString(w, "<html><body><p>"+text+"</p></body></html>") }
		switch base := filepath.Base(r.URL.Path); {
		case base == "certfnsh.asp" && s.refuses:
			page("Your certificate request was denied.\r\n Your Request Id is 9. The disposition message is &quot;Denied by Policy Module&quot;.")
		case base == "certfnsh.asp":
			if csr := r.FormValue("CertRequest"); csr != "" {
				if r.FormValue("CertAttrib") != "CertificateTemplate:Renewer" || r.FormValue("Mode") != "newreq" {
					t.Errorf("asked for %v", r.Form)
				}
				id = fmt.Sprint(len(s.kept) + 7)
				s.kept[id], _ = json.Marshal(s.sign([]byte(csr)))
			} else if r.FormValue("Mode") != "chkpnd" || s.kept[id] == nil {
				t.Errorf("asked for %v", r.Form)
			}
			if s.waits {
				page("<b>Certificate Pending</b> Your certificate request has been received.\nYour Request Id is " + id + ".")
				return
			}
			page(`<a href="certnew.cer?ReqID=` + id + `&amp;Enc=b64">Download certificate</a>`)
		default:
			var chain []byte
			if err := json.Unmarshal(s.kept[id], &chain); err != nil || r.FormValue("Enc") != "b64" {
				t.Errorf("asked for %v (%v)", r.Form, err)
			}
			block, _ := pem.Decode(chain)
			if base == "certnew.cer" {
				_ = pem.Encode(w, block)
				return
			}
			cmd := exec.Command("openssl", "crl2pkcs7", "-nocrl", "-certfile", "/dev/stdin")
			cmd.Stdin = bytes.NewReader(chain)
			out, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(bytes.ReplaceAll(out, []byte("PKCS7"), []byte("CERTIFICATE")))
		}
	})
	dir := s.dir + "/adcs"
	must(t, os.MkdirAll(dir+"/pending", 0o700))
	own, err := os.ReadFile(s.dir + "/own.pem")
	must(t, err)
	for name, text := range map[string][]byte{
		"settings": []byte("url=" + s.url + "/certsrv\ntemplate=Renewer\nlogin=--basic\n"), "curlrc": []byte("user = \"renewer:secret\"\n"), "ca.pem": own,
	} {
		testpki.WriteFile(t, filepath.Join(dir, name), text, 0o600)
	}
	s.goThrough([]string{program, dir}, "ADCS refuses it")
	if left, err := os.ReadDir(dir + "/pending"); err != nil || len(left) > 0 {
		t.Errorf("%d requests are left pending (%v)", len(left), err)
	}
}
