package renewer

import (
	"fmt"
	"io"
)

// SealedKey is the private key of a generation, sealed: only the holder of the
// seal's identity opens it.
type SealedKey struct {
	Certificate string
	Generation  int
	Sealed      Sealed
}

// Sealed is what a private key was sealed to. It is never printed, logged or
// encoded: copies of it outlive the key's time in the inventory.
type Sealed []byte

const sealedText = "[sealed key]"

// Format implements fmt.Formatter: every verb prints the same.
func (Sealed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, sealedText) }

// MarshalText implements encoding.TextMarshaler, for slog and JSON.
func (Sealed) MarshalText() ([]byte, error) { return []byte(sealedText), nil }

// NeedsKey reports whether the private key of a generation may still have to be
// placed somewhere: an open rollout delivers or orders it, or it is current while a
// placement has another one.
func (rec Record) NeedsKey(generation int) bool {
	if generation <= 0 {
		return false
	}
	if r := rec.Rollout; r != nil && !r.Phase.Over() && (r.Generation == generation || r.Ordered == generation) {
		return true
	}
	if generation == rec.Current {
		for _, p := range rec.Placements {
			if p.Generation != generation {
				return true
			}
		}
	}
	return false
}
