package notify

import (
	"strings"
	"testing"
)

// What a host says goes into messages without what steers who shows it.
func TestMessagesSteerNothing(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b]0;title\x07\u009b31m\u202eb"
	problems := []Problem{{Message: hostile, Error: hostile, Hint: hostile, Means: hostile, Ended: hostile}}
	m := Message{Title: hostile, Text: hostile, Open: problems, Resolved: problems, Notices: problems}.plain()
	text := m.Title + m.Text
	for _, list := range [][]Problem{m.Open, m.Resolved, m.Notices} {
		text += list[0].Message + list[0].Error + list[0].Hint + list[0].Means + list[0].Ended
	}
	if strings.ContainsAny(text, "\x1b\x07\u009b\u202e") {
		t.Errorf("%q steers", text)
	}
	if problems[0].Error != hostile {
		t.Error("what is kept was changed")
	}
}
