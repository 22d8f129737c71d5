package inventory_test

import (
	"renewer/inventory"
	"renewer/renewer/engine"
)

var _ engine.Store = (*inventory.Inventory)(nil)
