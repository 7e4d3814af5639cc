//go:build !unaudited

package audit

// discard is true only in the program that `make bench` compares signerd with.
const discard = false
