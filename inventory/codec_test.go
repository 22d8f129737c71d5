package inventory

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"renewer/renewer"
)

func drawTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" zero") {
		return time.Time{}
	}
	sec := rapid.Int64Range(-1e11, 1e12).Draw(t, label)
	return time.Unix(sec, rapid.Int64Range(0, 999_999_999).Draw(t, label+" ns")).UTC()
}

// stored are the types that are encoded.
var stored = []any{renewer.Record{}, renewer.Generation{}, renewer.Rollout{}, renewer.Event{}, storedRow{}}

// fillIn sets everything in a value, with what rapid draws.
func fillIn(t *rapid.T, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "count"))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "fraction"))
	case reflect.String:
		v.SetString(rapid.OneOf(
			rapid.String(), rapid.SampledFrom(words), rapid.StringMatching(`[0-9a-f]{8,70}`), rapid.StringMatching(`web@host(#[0-9])?`),
		).Draw(t, "text"))
	case reflect.Pointer:
		if depth > 0 && rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fillIn(t, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, "length"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				if v.Type().Elem().Kind() == reflect.Uint8 {
					v.Index(i).SetUint(uint64(rapid.Byte().Draw(t, "byte")))
				} else if fillIn(t, v.Index(i), depth-1); v.Index(i).Kind() == reflect.Slice && v.Index(i).IsNil() {
					v.Index(i).Set(reflect.MakeSlice(v.Index(i).Type(), 0, 0)) // a list holds no nil
				}
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 3).Draw(t, "size"); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fillIn(t, k, depth-1)
				fillIn(t, e, depth-1)
				v.SetMapIndex(k, e)
			}
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(drawTime(t, "time")))
			return
		}
		for i := range v.NumField() {
			fillIn(t, v.Field(i), depth-1)
		}
	default:
		t.Fatalf("a %s", v.Type())
	}
}

// Everything comes back: nil as nil, empty as empty, and a value that is cut
// short is none.
func TestEncodeRoundTrip(t *testing.T) {
	t.Parallel()
	for _, zero := range stored {
		typ := reflect.TypeOf(zero)
		t.Run(typ.Name(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				want, got := reflect.New(typ), reflect.New(typ)
				fillIn(t, want.Elem(), 6)
				b := encode(want.Interface(), "web@host", nil)
				err := decode(b, got.Interface(), "web@host")
				if d := cmp.Diff(want.Interface(), got.Interface()); err != nil || d != "" {
					t.Fatalf("%v\n%s", err, d)
				}
				cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
				if decode(b[:cut], reflect.New(typ).Interface(), "web@host") == nil {
					t.Fatalf("%d of %d bytes are taken for a value", cut, len(b))
				}
			})
		})
	}
}

// A value of a program that knew other fields is read as far as it is known.
func TestDecodeSkipsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	type inner struct {
		Name   string            `json:"name"`
		Others map[string][]int  `json:"unheard_of"`
		At     time.Time         `json:"not_after"`
		Texts  map[string]string `json:"message"`
	}
	type was struct {
		Gone  inner     `json:"layout"`
		Name  string    `json:"name"`
		Gone2 []inner   `json:"another_one"`
		When  time.Time `json:"time"`
	}
	type is struct {
		Name string    `json:"name"`
		When time.Time `json:"time"`
		New  string    `json:"error"`
	}
	in := inner{Name: "host-a.example.com", Others: map[string][]int{"a": {1, 2}, "b": nil}, At: day(1), Texts: map[string]string{"x": "host-a"}}
	got := is{}
	if err := decode(encode(&was{in, "host-a.example.com:2376", []inner{in, {}}, day(2)}, "", nil), &got, ""); err != nil {
		t.Fatal(err)
	}
	equal(t, "what is known", got, is{Name: "host-a.example.com:2376", When: day(2)})
}

// A field whose name is no word is written in full, each time; and no two words
// may be the same.
func TestEveryFieldIsAWord(t *testing.T) {
	t.Parallel()
	if len(wordNumbers) != len(words) {
		t.Errorf("%d words, %d of them different", len(words), len(wordNumbers))
	}
	seen := map[reflect.Type]bool{}
	var look func(typ reflect.Type)
	look = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			look(typ.Elem())
		case reflect.Struct:
			if seen[typ] || typ == reflect.TypeFor[time.Time]() {
				return
			}
			seen[typ] = true
			for i := range typ.NumField() {
				name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
				if _, ok := wordNumbers[name]; !ok {
					t.Errorf("add %q, of %s.%s, at the end of words in words.go", name, typ, typ.Field(i).Name)
				}
				look(typ.Field(i).Type)
			}
		}
	}
	for _, v := range stored {
		look(reflect.TypeOf(v))
	}
}

func TestTimesSortAsBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTime(t, "a"), drawTime(t, "b")
		if got, err := timeOf(timeKey(a)); err != nil || !got.Equal(a) {
			t.Fatalf("%s comes back as %s (%v)", a, got, err)
		}
		want := a.Compare(b)
		if a.IsZero() != b.IsZero() { // no time comes last
			want = -1
			if a.IsZero() {
				want = 1
			}
		}
		if got := bytes.Compare(timeKey(a), timeKey(b)); got != want {
			t.Fatalf("%s and %s: %d, want %d", a, b, got, want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	full := issued("docker@host-b", 3, day(90))
	row := rowApart(*full.Row, *full.Record, nil)
	f.Add(encode(full.Record, "web", nil))
	f.Add(encode(full.Generation, "web", nil))
	f.Add(encode(&row, "web", nil))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{nameLiteral<<2 | byte(kObject), 1<<3 + formRaw, 'x'}, 1000))
	f.Add([]byte{40<<2 | byte(kList), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, zero := range stored {
			v, again := reflect.New(reflect.TypeOf(zero)).Interface(), reflect.New(reflect.TypeOf(zero)).Interface()
			if decode(b, v, "web") != nil {
				continue
			}
			err := decode(encode(v, "web", nil), again, "web")
			if d := cmp.Diff(v, again); err != nil || d != "" {
				t.Fatalf("%v\n%s", err, d)
			}
		}
	})
}
