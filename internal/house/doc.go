// Package house holds the rules of the house as tests: which package may
// import which, and that every dependency is explained. It exports nothing.
package house
