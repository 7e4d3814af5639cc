//go:build goexperiment.runtimesecret

package secret

import "runtime/secret"

// Erasing reports whether Do erases what f leaves behind.
const Erasing = true

// Do runs f, which computes with a secret. With Erasing, registers and stack are erased afterwards, and memory that f allocated
// when the garbage collector frees it. f starts no goroutine.
func Do(f func()) { secret.Do(f) }
