package inventory

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"renewer/renewer"
)

// resident is how many kilobytes of the inventory's file are mapped in and have
// been read.
func resident(t *testing.T, path string) (kB int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ours := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			ours = len(fields) == 6 && fields[5] == path
		case ours && fields[0] == "Rss:":
			n, _ := strconv.Atoi(fields[1])
			kB += n
		}
	}
	return kB
}

func TestReleaseTakesTheFileOutOfMemory(t *testing.T) {
	i := open(t)
	var names []string
	for n := range 2000 {
		names = append(names, fmt.Sprintf("web%04d", n))
	}
	for at := 0; at < len(names); at += 500 {
		var changes []renewer.Change
		for _, name := range names[at : at+500] {
			changes = append(changes, renewer.Change{Record: &renewer.Record{Name: name, Entry: "web"}})
		}
		commit(t, i, changes...)
	}
	read := func() {
		for _, name := range names {
			if rec, ok, err := i.Record(name); err != nil || !ok || rec.Name != name {
				t.Errorf("%s: %+v %v", name, rec, err)
			}
		}
	}
	read()
	before := resident(t, i.Path())
	done := make(chan struct{})
	go func() { // the one who reads meanwhile sees what is there
		defer close(done)
		read()
	}()
	i.Release()
	<-done
	i.Release()
	if after := resident(t, i.Path()); before == 0 || after > before/4 {
		t.Errorf("%d kB before, %d after", before, after)
	}
	read()
	commit(t, i, renewer.Change{Record: &renewer.Record{Name: "another", Entry: "web"}})
	sound(t, i)
}
