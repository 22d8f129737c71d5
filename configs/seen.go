package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Stamp tells one state of a file from another without reading it. It is empty
// where there is no such file.
func Stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d bytes at %d", info.Size(), info.ModTime().UnixNano())
}

// Digest returns what Fleet.Digest of the fleet file would be.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", notOpened(err)
	}
	defer f.Close()
	return digest(f)
}

func digest(text io.Reader) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, text); err != nil {
		return "", fmt.Errorf("reading the fleet file: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
