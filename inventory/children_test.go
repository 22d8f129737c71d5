package inventory

// children are what the test binary does as a process of its own.
var children = map[string]func(path string){}
