// Package process holds a running signerd to what docs/operations.md and docs/threat-model.md say of its process: which files it
// may open, that it goes on working with no others, and which secrets lie in its memory.
//
// It is for people who change what signerd opens, keeps or wipes. Its tests run the real program and call it as clients do. Nothing
// imports this package.
package process
