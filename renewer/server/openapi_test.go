package server

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// update writes openapi.json and docs/api.md: make api.
var update = flag.Bool("update", false, "write openapi.json and docs/api.md")

const apiGuide = "../../docs/api.md"

// Both are made from the routes, the Go types with their JSON tags, and the comments
// of these.
func TestAPIDescriptionIsUpToDate(t *testing.T) {
	t.Parallel()
	d := describe(t)
	spec, err := json.MarshalIndent(d.document(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	guide := bytes.Buffer{}
	text := template.Must(template.New("api.md.tmpl").ParseFiles("testdata/api.md.tmpl"))
	if err := text.Execute(&guide, d.operations()); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{"openapi.json": append(spec, '\n'), apiGuide: guide.Bytes()} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the routes and types say (%v): run make api", file, err)
		}
	}
}

// described is what the source says of the API's types.
type described struct {
	t       *testing.T
	types   map[string]string            // package.Type → comment
	fields  map[string]map[string]string // type → field → comment
	consts  map[string][]string          // type → values
	schemas map[string]any
}

// open are the types of text that may have other values than their constants.
var open = []reflect.Type{reflect.TypeFor[renewer.EventType](), reflect.TypeFor[renewer.Usage](), reflect.TypeFor[renewer.KeyType](), reflect.TypeFor[problems.ID]()}

func describe(t *testing.T) *described {
	d := &described{t: t, types: map[string]string{}, fields: map[string]map[string]string{}, consts: map[string][]string{}, schemas: map[string]any{}}
	for pkg, dir := range map[string]string{"renewer": "..", "server": ".", "forecast": "../forecast", "problems": "../problems"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range parsed.Decls {
				if decl, ok := decl.(*ast.GenDecl); ok {
					d.read(pkg, decl)
				}
			}
		}
	}
	return d
}

func (d *described) read(pkg string, decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			d.types[pkg+"."+spec.Name.Name] = comment(spec.Doc, decl.Doc)
			if s, ok := spec.Type.(*ast.StructType); ok {
				of := map[string]string{}
				for _, f := range s.Fields.List {
					for _, name := range f.Names {
						of[name.Name] = comment(f.Doc, f.Comment)
					}
				}
				d.fields[pkg+"."+spec.Name.Name] = of
			}
		case *ast.ValueSpec:
			if of, ok := spec.Type.(*ast.Ident); ok && decl.Tok == token.CONST && len(spec.Values) == 1 {
				of := pkg + "." + of.Name
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, _ := strconv.Unquote(lit.Value)
					d.consts[of] = append(d.consts[of], value)
				}
			}
		}
	}
}

func comment(groups ...*ast.CommentGroup) string {
	var text []string
	for _, g := range groups {
		if g != nil {
			text = append(text, strings.Join(strings.Fields(g.Text()), " "))
		}
	}
	return strings.Join(text, " ")
}

func (d *described) document() map[string]any {
	paths := map[string]any{}
	for _, rt := range routes {
		at, ok := paths[Prefix+rt.path].(map[string]any)
		if !ok {
			at = map[string]any{}
			paths[Prefix+rt.path] = at
		}
		at[strings.ToLower(rt.method)] = d.operation(rt)
	}
	paths[Prefix+"/openapi.json"] = map[string]any{"get": map[string]any{
		"operationId": "getOpenapi", "tags": []string{"read"}, "summary": "This document",
		"responses": map[string]any{"200": answer("The document", "application/json", map[string]any{"type": "object"})},
	}}
	d.schema(reflect.TypeFor[wireError](), false)
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "renewer", "version": "1",
			"description": "The API of renewer. Routes with the tag read are GET requests: they change nothing, and are on the daemon's unix socket and on its HTTP port, behind web_config. Routes with the tag local read too, and are on the socket alone. Routes with the tag act are POST requests, on the socket alone.",
		},
		"servers":    []any{map[string]any{"url": "/"}},
		"tags":       []any{map[string]any{"name": "read", "description": "Change nothing."}, map[string]any{"name": "local", "description": "Change nothing; on the socket alone."}, map[string]any{"name": "act", "description": "On the socket alone, for root and the user that renewer runs as."}},
		"paths":      paths,
		"components": map[string]any{"schemas": d.schemas},
	}
}

func (d *described) operation(rt *route) map[string]any {
	tag, answers := "read", map[string]any{"default": answer("The request failed.", problemType, ref("Error"))}
	op := map[string]any{"operationId": operationID(rt), "summary": rt.summary, "responses": answers}
	if rt.local {
		tag = "local"
	}
	if rt.acting() {
		tag = "act"
		answers["403"] = answer("The caller may only read.", problemType, ref("Error"))
		if body := d.object(rt.request, rt.inPath); len(body["properties"].(map[string]any)) > 0 {
			body["additionalProperties"] = false
			op["requestBody"] = map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": body}}}
		}
	}
	op["tags"] = []string{tag}
	var parameters []any
	for _, p := range d.parameters(rt) {
		parameters = append(parameters, map[string]any{"name": p.Name, "in": p.In, "description": p.About, "required": p.In == "path", "schema": p.schema})
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	switch rt.form {
	case formValue:
		answers["200"] = answer("The answer", "application/json", d.schema(rt.answer, true))
	case formList:
		answers["200"] = answer("The answer, sent as it is made. The trailer Renewer-End is "+endOK+" where it is whole.", "application/json",
			map[string]any{"type": "array", "items": d.schema(rt.answer, true)})
	case formLines:
		answers["200"] = answer("A JSON object a line: events while they happen, then the result or the error. Blank lines keep the connection alive.", "application/x-ndjson",
			map[string]any{"type": "object", "properties": map[string]any{
				"event": ref(d.name(reflect.TypeFor[renewer.Event]())), "result": d.schema(rt.answer, true), "error": ref("Error"),
			}})
		d.schema(reflect.TypeFor[renewer.Event](), true)
	case formBytes:
		answers["200"] = answer("The bytes. The trailer Renewer-End is "+endOK+" where they are whole.", "application/octet-stream", map[string]any{})
	}
	return op
}

func answer(about, contentType string, schema any) map[string]any {
	return map[string]any{"description": about, "content": map[string]any{contentType: map[string]any{"schema": schema}}}
}

func ref(name string) map[string]any { return map[string]any{"$ref": "#/components/schemas/" + name} }

func operationID(rt *route) string {
	id := strings.ToLower(rt.method)
	for _, part := range strings.FieldsFunc(rt.path, func(r rune) bool { return strings.ContainsRune("/{}-", r) }) {
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

// parameter is one of a URL.
type parameter struct {
	Name, In, About string
	schema          any
}

func (d *described) parameters(rt *route) (out []parameter) {
	for _, f := range reflect.VisibleFields(rt.request) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := parameter{Name: name, In: "query", About: d.fields[rt.request.String()][f.Name], schema: d.schema(f.Type, false)}
		switch {
		case rt.inPath(name):
			p.In = "path"
		case rt.acting():
			continue
		}
		switch f.Type {
		case reflect.TypeFor[time.Time]():
			p.schema = map[string]any{"type": "string", "examples": []string{"2026-11-22T05:00:00Z", "24h", "7d"}}
			p.About += "; a time in RFC 3339, or how long ago"
		case reflect.TypeFor[time.Duration]():
			p.schema = map[string]any{"type": "string", "examples": []string{"72h", "30d", "2w"}}
		}
		if p.About == "" {
			d.t.Errorf("%s: parameter %s has no comment, at field %s of %s", rt.path, name, f.Name, rt.request)
		}
		out = append(out, p)
	}
	return out
}

// operation of the guide.
type operation struct {
	Method, Path, Summary string
	Parameters            []parameter
	Fields                []parameter // of the body
	Answer                string
	Local                 bool
}

// operations are those that read, and those that act.
func (d *described) operations() (out struct{ Read, Act []operation }) {
	for _, rt := range routes {
		op := operation{rt.method, Prefix + rt.path, rt.summary, d.parameters(rt), nil, typeText(rt.answer), rt.local}
		if rt.form == formList {
			op.Answer = "array of " + op.Answer
		}
		if !rt.acting() {
			out.Read = append(out.Read, op)
			continue
		}
		for _, f := range reflect.VisibleFields(rt.request) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !rt.inPath(name) {
				op.Fields = append(op.Fields, parameter{Name: name, About: d.fields[rt.request.String()][f.Name]})
			}
		}
		out.Act = append(out.Act, op)
	}
	return out
}

func typeText(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[[]byte]():
		return "bytes"
	case t.Kind() == reflect.Slice:
		return "array of " + typeText(t.Elem())
	case t == reflect.TypeFor[none]():
		return "an empty object"
	}
	return "`" + t.Name() + "`"
}

// name is that of a type's schema.
func (d *described) name(t reflect.Type) string {
	if t == reflect.TypeFor[wireError]() {
		return "Error"
	}
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	pkg, _, _ := strings.Cut(t.String(), ".")
	if of := map[string]string{"forecast": "Forecast", "problems": "Problem"}[pkg]; name != of {
		name = of + name
	}
	return name
}

// schema is that of a type, as encoding/json writes it. never reports whether it is
// never null.
func (d *described) schema(t reflect.Type, never bool) any {
	null := func(s map[string]any) map[string]any {
		if never {
			return s
		}
		return map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "integer", "format": "int64", "description": "nanoseconds"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	case t == reflect.TypeFor[[]byte]():
		return null(map[string]any{"type": "string", "contentEncoding": "base64"})
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Int32:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return d.text(t)
	case reflect.Slice:
		return null(map[string]any{"type": "array", "items": d.schema(t.Elem(), true)})
	case reflect.Map:
		return null(map[string]any{"type": "object", "additionalProperties": d.schema(t.Elem(), true)})
	case reflect.Pointer:
		return null(d.schema(t.Elem(), true).(map[string]any))
	case reflect.Struct:
		name := d.name(t)
		if d.schemas[name] == nil {
			d.schemas[name] = true // it may contain itself
			d.schemas[name] = d.object(t, func(string) bool { return false })
		}
		return ref(name)
	default:
		d.t.Fatalf("the API has a value of type %s", t)
		return nil
	}
}

// text is the schema of a kind of string: a component where it has a type of its own.
func (d *described) text(t reflect.Type) any {
	values := d.consts[t.String()]
	if t.PkgPath() == "" || len(values) == 0 {
		return map[string]any{"type": "string"}
	}
	s := map[string]any{"type": "string", "description": d.types[t.String()]}
	if slices.Contains(open, t) {
		s["examples"] = values
	} else {
		s["enum"] = values
	}
	d.schemas[d.name(t)] = s
	return ref(d.name(t))
}

// object is the schema of a struct but for some fields.
func (d *described) object(t reflect.Type, without func(name string) bool) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, tagged := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if f.Anonymous && f.Tag.Get("json") == "" || !f.IsExported() || name == "-" && !tagged || without(name) {
			continue
		}
		optional := strings.Contains(options, "omit")
		if !optional {
			required = append(required, name)
		}
		s, _ := d.schema(f.Type, optional).(map[string]any)
		of := t // the struct that has the field
		for _, i := range f.Index[:len(f.Index)-1] {
			of = of.Field(i).Type
		}
		if about := d.fields[of.String()][f.Name]; about != "" {
			if also, ok := s["description"].(string); ok {
				about += "; " + also
			}
			s = with(s, "description", about)
		}
		properties[name] = s
	}
	out := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		out["required"] = required
	}
	if about := d.types[t.String()]; about != "" && t.PkgPath() != "" && t != reflect.TypeFor[wireError]() {
		out["description"] = about
	}
	return out
}

func with(s map[string]any, key, value string) map[string]any {
	out := map[string]any{key: value}
	for k, v := range s {
		if k != key {
			out[k] = v
		}
	}
	return out
}
