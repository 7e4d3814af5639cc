// Package version says which release of signerd this is, for signerd and signerctl alike.
package version

// Version is the release, by semantic versioning.
const Version = "0.1.0-dev"
