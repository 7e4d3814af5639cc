//go:build unaudited

package audit

// discard makes Append keep nothing: what is measured is signerd without an audit log. No program that signs for anybody is built
// like this.
const discard = true
