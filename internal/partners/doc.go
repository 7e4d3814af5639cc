// Package partners holds the local partners: stand-ins for the NOAH Business
// API, for Noba and for the Noon gateway, that run inside a test, or for people
// in `signerctl sandbox`, and say whether they would accept a signed request or
// a login, and if not, why.
//
// They are written from the partners' own pages (NOAH "Authentication" and
// "Request Signing", Noba "API Key Authentication", Noon's login) and from what
// was observed in public integrations, by someone who distrusts the signer: the package
// imports none of signerd's other packages and no JWT library, so a mistake in
// the signer cannot repeat itself here. Where the pages leave room, the
// stand-ins take the narrow reading; a partner may accept more than they do.
//
// They check authentication only. There are no accounts and no endpoints, every
// path answers, and plain HTTP is served although the partners refuse it. Not
// modelled: NOAH sandbox keys without a public key, expiry of API keys, and the
// refusal of browsers. The Noon gateway can be told to fail in many ways.
//
// Reasons for a refusal are long and specific, more than a service facing
// strangers should say. signerd itself never imports this package.
package partners
