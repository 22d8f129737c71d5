package local

import (
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxIterations bounds the work that a file can ask for; openssl's default is
// 2,048 and pemutil's 600,000.
const maxIterations = 10_000_000

// Identifiers of RFC 8018 (appendices A and B) and RFC 7914.
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

	pseudorandom = []string{"1.2.840.113549.2.7", "1.2.840.113549.2.9"} // HMAC with SHA-1, SHA-256
	blockSizes   = map[string]int{
		"2.16.840.1.101.3.4.1.2":  16, // AES-128-CBC
		"2.16.840.1.101.3.4.1.22": 16, // AES-192-CBC
		"2.16.840.1.101.3.4.1.42": 16, // AES-256-CBC
		"1.2.840.113549.3.7":      8,  // DES-EDE3-CBC
	}
)

// Of EncryptedPrivateKeyInfo (RFC 5958, section 3) as much as decides whether
// pemutil can open it.
type encryptedKey struct {
	Algorithm algorithm
	Data      []byte
}

type algorithm struct {
	ID         asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type pbes2 struct{ Derivation, Cipher algorithm }

type pbkdf2 struct {
	Salt       []byte
	Iterations int
	KeyLength  int       `asn1:"optional"`
	PRF        algorithm `asn1:"optional"`
}

// encryption reports whether a key is encrypted, and an error if it is so in
// a way that pemutil does not read. It also keeps from pemutil what makes the
// ciphers below it panic: odd block lengths.
func encryption(block *pem.Block) (bool, error) {
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			return true, errors.New("it is encrypted twice")
		}
		return true, checkTraditional(block)
	}
	if block.Type != "ENCRYPTED PRIVATE KEY" {
		return false, nil
	}
	return true, checkPKCS8(block.Bytes)
}

// checkTraditional looks at the DEK-Info of RFC 1421, section 4.6.1.3.
func checkTraditional(block *pem.Block) error {
	name, _, _ := strings.Cut(block.Headers["DEK-Info"], ",")
	switch name {
	case "AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "DES-EDE3-CBC":
		return nil
	default:
		return fmt.Errorf("encryption %.40q is not supported", name)
	}
}

func checkPKCS8(der []byte) error {
	var k encryptedKey
	if _, err := asn1.Unmarshal(der, &k); err != nil {
		return errors.New("it is not a PKCS #8 encrypted key")
	}
	if !k.Algorithm.ID.Equal(oidPBES2) {
		return fmt.Errorf("encryption with PBES1 or PKCS #12 (%s) is not supported", k.Algorithm.ID)
	}
	var scheme pbes2
	if _, err := asn1.Unmarshal(k.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return errors.New("it is not a PKCS #8 encrypted key")
	}
	if scheme.Derivation.ID.Equal(oidScrypt) {
		return errors.New("encryption with scrypt is not supported")
	}
	if !scheme.Derivation.ID.Equal(oidPBKDF2) {
		return fmt.Errorf("key derivation %s is not supported", scheme.Derivation.ID)
	}
	var kdf pbkdf2
	if _, err := asn1.Unmarshal(scheme.Derivation.Parameters.FullBytes, &kdf); err != nil {
		return errors.New("it is not a PKCS #8 encrypted key")
	}
	if kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return fmt.Errorf("%d iterations are not supported; at most %d are", kdf.Iterations, maxIterations)
	}
	if prf := kdf.PRF.ID.String(); kdf.KeyLength != 0 || prf != "" && prf != pseudorandom[0] && prf != pseudorandom[1] {
		return fmt.Errorf("key derivation with %s is not supported", prf)
	}
	size, ok := blockSizes[scheme.Cipher.ID.String()]
	if !ok {
		return fmt.Errorf("cipher %s is not supported", scheme.Cipher.ID)
	}
	var iv []byte
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != size {
		return errors.New("its initialization vector is damaged")
	}
	if len(k.Data) == 0 || len(k.Data)%size != 0 {
		return errors.New("it is truncated")
	}
	return nil
}

// convertHint and encryptHint give a command of openssl that writes what is
// read here.
func convertHint(file string) string {
	return "convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in " + file + " -out NEW"
}

func encryptHint(file string) string {
	return "encrypt it: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in " + file + " -out NEW, then replace it; or remove passphrase_file"
}
