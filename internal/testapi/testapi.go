// Package testapi holds an OpenAPI document against OpenAPI 3.1, and answers against the
// document, with libraries that know nothing of how it was made. A field that the
// document does not have is a fault.
package testapi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schemas are those of a document.
type Schemas struct{ compiler *jsonschema.Compiler }

// Read reads a document, which has to be right by OpenAPI.
func Read(t testing.TB, document []byte) *Schemas {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData(document)
	if err == nil {
		err = spec.Validate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	closed(doc)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return &Schemas{c}
}

// closed lets no object of a schema have other properties.
func closed(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closed(child)
		}
	case []any:
		for _, child := range v {
			closed(child)
		}
	}
}

// Check validates an answer of an operation: method in lower case, path as the document
// has it, status such as 200 or default.
func (s *Schemas) Check(t testing.TB, method, path, status, contentType string, body []byte) {
	t.Helper()
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace
	schema, err := s.compiler.Compile("openapi.json#/paths/" + escape(path) + "/" + method + "/responses/" + status + "/content/" + escape(contentType) + "/schema")
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		t.Errorf("%s %s: %v\nin %.2000s", method, path, err, body)
	}
}
