package tlsfiles

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Extensions of revocation lists and of their entries (RFC 5280, sections 5.2 and 5.3).
var (
	oidCRLNumber         = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReasonCode        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate    = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidDeltaCRLIndicator = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
	oidAuthorityKeyID    = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// reasonRemoveFromCRL takes back what an earlier list said; only deltas have it.
const reasonRemoveFromCRL = 8

var (
	errDelta       = errors.New("it is a delta; signerd takes whole lists")
	errPart        = errors.New("it is indirect, or tells only part of the revocations; signerd takes lists of all reasons by the issuer itself")
	errOtherIssuer = errors.New("it has an entry of another issuer")
)

// checkList refuses lists whose entries mean something else than that the signer revoked a certificate that it issued, and
// lists that leave some of those out.
func checkList(list *x509.RevocationList) error {
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidDeltaCRLIndicator):
			return errDelta
		case e.Id.Equal(oidDistributionPoint):
			if !takesScope(e.Value) {
				return errPart
			}
		case e.Id.Equal(oidCRLNumber), e.Id.Equal(oidAuthorityKeyID):
		case e.Critical:
			return fmt.Errorf("it has a critical extension that signerd does not know, %s", e.Id)
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.ReasonCode == reasonRemoveFromCRL {
			return errDelta
		}
		for _, e := range entry.Extensions {
			switch {
			case e.Id.Equal(oidCertificateIssuer):
				return errOtherIssuer
			case e.Id.Equal(oidReasonCode), e.Id.Equal(oidInvalidityDate):
			case e.Critical:
				return fmt.Errorf("an entry has a critical extension that signerd does not know, %s", e.Id)
			}
		}
	}
	return nil
}

// takesScope judges an issuing distribution point: where the list is published, or that it is of users' certificates or of
// authorities' alone, takes nothing from what it revokes. The others (some reasons, indirect, attribute certificates) do.
func takesScope(der []byte) bool {
	var parts []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &parts); err != nil || len(rest) > 0 {
		return false
	}
	for _, p := range parts {
		if p.Class != asn1.ClassContextSpecific || p.Tag > 2 {
			return false
		}
	}
	return true
}
