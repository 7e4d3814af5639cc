// Package soak holds the whole program to its promises where no test of a part can: signerd is killed while it works, flooded while it
// serves somebody else, and filled with thousands of keys.
//
// It is for people who change what is recorded, or when. Its tests run the real program in a process of its own, call it as clients do,
// and read what it left on the disk with code of their own. With SIGNERD_SOAK=1 (`make soak-audit`, `make soak-keys`) they do so for minutes and hold
// signerd to numbers; otherwise they take seconds, and nothing depends on how fast the machine is. Nothing imports this package, and it
// never writes to signerd's files. A killed process leaves the operating system running: what a power cut takes is the matter of package
// audit's own tests.
package soak
