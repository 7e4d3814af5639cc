// Package ownfile knows the files that signerd itself makes by how they begin, so that none of them is taken for a partner's
// secret: of an API key everybody who may sign gets a copy, and a root key is not to be one.
//
// It is for server and signerctl, which bring secrets in. It knows the packages that write these files by what they write alone.
package ownfile

import "bytes"

// kinds are the beginnings of files.
var kinds = []struct{ begins, kind string }{
	{"signerd-root-key-v", "a root key"},
	{"signerd-passphrase-v", "the parameters of a passphrase"},
	{"signerd-recovery-private-key-v", "the private half of a recovery key"},
	{"signerd-recovery-public-key-v", "the public half of a recovery key"},
	{"signerd backup", "a backup"},
	{"-----BEGIN SIGNERD IMPORT TICKET-----", "an import ticket"},
	{"-----BEGIN SIGNERD SEALED IMPORT-----", "a sealed file"},
}

// Kind says which of signerd's files a content is, in whatever format, such as "a root key"; empty for none of them. White space
// and a byte order mark before it do not count.
func Kind(content []byte) string {
	content = bytes.TrimLeft(bytes.TrimPrefix(content, []byte("\ufeff")), " \t\r\n")
	for _, k := range kinds {
		if bytes.HasPrefix(content, []byte(k.begins)) {
			return k.kind
		}
	}
	return ""
}
