package configs

import "testing"

// Names as people write them, and the name to write.
func TestMeantName(t *testing.T) {
	t.Parallel()
	hostPort := func(s string) bool { return isHostPort(s, 1) }
	form := func(s string) bool { return certificateName.MatchString(s) }
	for _, c := range []struct {
		text  string
		check func(string) bool
		want  string
	}{
		{"bücher.example", isSAN, "xn--bcher-kva.example"},
		{"Bücher.Example", isSAN, "xn--bcher-kva.example"},
		{"*.bücher.example", isSAN, "*.xn--bcher-kva.example"},
		{"例え.テスト", isSAN, "xn--r8jz45g.xn--zckzah"},
		{"bücher.example.", isSAN, "xn--bcher-kva.example"},
		{"bücher.example:2376", hostPort, "xn--bcher-kva.example:2376"},
		{"bücher.example:2376", isAddress, "xn--bcher-kva.example"},
		{"www.example.com.", isSAN, "www.example.com"},
		{" www.example.com ", isSAN, "www.example.com"},
		{"https://www.example.com/path", isSAN, "www.example.com"},
		{"https://www.example.com:8443/", isSAN, "www.example.com"},
		{"https://www.example.com:8443/", hostPort, "www.example.com:8443"},
		{"www.example.com:8443", isSAN, "www.example.com"},
		{"DNS:www.example.com", isSAN, "www.example.com"},
		{"IP Address:10.0.0.1", isSAN, "10.0.0.1"},
		{"10.0.0.1/24", isSAN, "10.0.0.1"},
		{"[::1]", isSAN, "::1"},
		{"[::1]:443", isSAN, "::1"},
		{"fe80::1%eth0", isSAN, "fe80::1"},
		{"Docker", form, "docker"},
		{"*.*.example.com", isSAN, ""},
		{"a b", isSAN, ""},
		{"10.0.0.256", isSAN, ""},
		{"ops@example.com", isSAN, ""},
		{"", isSAN, ""},
		{"ü..example", isSAN, ""},
	} {
		if got := meantName(c.text, c.check); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}
