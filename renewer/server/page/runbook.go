package page

import (
	"net/http"
	"strings"

	"renewer/docs/runbooks"
	"renewer/internal/pattern"
)

func runbookLink(name string) string {
	if _, ok := runbooks.Page(name); !ok {
		return ""
	}
	return "/runbooks/" + name
}

// runbookPage is one runbook, read as the Markdown that our own are written
// in: headings, paragraphs, lists, indented code, tables, code and links. All
// else stays as it is written.
type runbookPage struct {
	Name   string
	Title  string
	Blocks []block
	Index  bool
}

// block is one part of a page, of one of these kinds.
type block struct {
	Heading string
	Code    string
	Text    []span   // a paragraph
	Items   [][]span // a list
	Rows    [][][]span
}

// span is a piece of text: plain, with weight, code, or a link to another page.
type span struct{ Text, Strong, Code, Link string }

func (p *pages) runbook(r *http.Request, f *frame) (any, error) {
	name := r.PathValue("name")
	if name == "" {
		name = runbooks.Index
	}
	text, ok := runbooks.Page(name)
	if !ok {
		return nil, notFound{"There is no runbook of this name: see /runbooks", ""}
	}
	system, err := p.Source.System(r.Context())
	if err == nil { // a runbook is shown whatever is wrong
		f.Daemon = system.Daemon
	}
	page := runbookPage{Name: strings.TrimSuffix(name, ".md"), Blocks: parse(text)}
	page.Index = page.Name == runbooks.Index
	page.Title, page.Blocks = page.Blocks[0].Heading, page.Blocks[1:]
	f.Title, f.Section, f.Refresh = page.Title, "runbooks", refreshSeldom
	return page, nil
}

func parse(text string) (blocks []block) {
	for _, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		part = strings.TrimRight(part, "\n")
		lines := strings.Split(part, "\n")
		var b block
		switch {
		case strings.HasPrefix(part, "#"):
			b.Heading = strings.TrimLeft(part, "# ")
		case strings.HasPrefix(part, "    "):
			for i, l := range lines {
				lines[i] = strings.TrimPrefix(l, "    ")
			}
			b.Code = strings.Join(lines, "\n")
		case strings.HasPrefix(part, "- "):
			for _, item := range strings.Split("\n"+part, "\n- ")[1:] {
				b.Items = append(b.Items, spans(item))
			}
		case strings.HasPrefix(part, "|"):
			for _, l := range lines {
				if strings.HasPrefix(l, "|--") {
					continue
				}
				var row [][]span
				for _, cell := range strings.Split(strings.Trim(l, "| "), "|") {
					row = append(row, spans(cell))
				}
				b.Rows = append(b.Rows, row)
			}
		default:
			b.Text = spans(part)
		}
		blocks = append(blocks, b)
	}
	return blocks
}

var marked = pattern.New("`[^`]+`|\\*[^* ][^*]*\\*|\\[[^\\]]+\\]\\([A-Za-z]+\\.md\\)")

// spans breaks a text into its pieces; lines are joined.
func spans(text string) (out []span) {
	text = strings.Join(strings.Fields(text), " ")
	plain := func(s string) {
		if s != "" {
			out = append(out, span{Text: s})
		}
	}
	at := 0
	for _, m := range marked.Regexp().FindAllStringIndex(text, -1) {
		plain(text[at:m[0]])
		piece := text[m[0]:m[1]]
		at = m[1]
		switch piece[0] {
		case '`':
			out = append(out, span{Code: strings.Trim(piece, "`")})
		case '*':
			out = append(out, span{Strong: strings.Trim(piece, "*")})
		default:
			title, target, _ := strings.Cut(strings.TrimSuffix(piece[1:], ".md)"), "](")
			out = append(out, span{Text: title, Link: runbookLink(target)})
		}
	}
	plain(text[at:])
	return out
}
