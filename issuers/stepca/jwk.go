package stepca

import (
	"encoding/json"

	"go.step.sm/crypto/jose"

	"renewer/internal/atomicfile"
)

// logInJWK opens the provisioner's key with the password. During a change of
// keys the server has several provisioners of one name.
func (i *Issuer) logInJWK(list []provisioner) (*credentials, error) {
	password, err := atomicfile.ReadPassphrase(i.cfg.PasswordFile)
	if err != nil {
		return nil, fileError(err, "password_file", i.cfg.PasswordFile)
	}
	if len(password) == 0 {
		return nil, misconfigured("write the password of the provisioner into the file", "password_file %s is empty", i.cfg.PasswordFile)
	}
	open := 0
	for _, p := range list {
		if p.EncryptedKey == "" {
			continue
		}
		open++
		if jwk, ok := openKey(p.EncryptedKey, password); ok {
			key := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(jwk.Algorithm), Key: jwk.Key}
			return newCredentials(key, map[jose.HeaderKey]any{"kid": p.Key.ID}, "")
		}
	}
	if open == 0 {
		return nil, misconfigured("add the provisioner with its encrypted key to the CA, or log in with x5c",
			"the CA does not provide the encrypted key of provisioner %s", i.cfg.Provisioner)
	}
	return nil, misconfigured("put the password of provisioner "+i.cfg.Provisioner+" into "+i.cfg.PasswordFile,
		"the password in %s does not decrypt the key of provisioner %s", i.cfg.PasswordFile, i.cfg.Provisioner)
}

// openKey says nothing about what is wrong: the parsers speak of the content.
func openKey(sealed string, password []byte) (*jose.JSONWebKey, bool) {
	enc, err := jose.ParseEncrypted(sealed)
	if err != nil {
		return nil, false
	}
	text, err := enc.Decrypt(password)
	if err != nil {
		return nil, false
	}
	jwk := new(jose.JSONWebKey)
	if err := json.Unmarshal(text, jwk); err != nil || jwk.Key == nil || jwk.IsPublic() {
		return nil, false
	}
	return jwk, true
}
