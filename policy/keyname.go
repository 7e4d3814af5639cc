package policy

// MaxKeyNameBytes bounds a key's name.
const MaxKeyNameBytes = 63

// ValidKeyName reports whether s can name a key: lower-case letters, digits and inner hyphens.
func ValidKeyName(s string) bool {
	if len(s) == 0 || len(s) > MaxKeyNameBytes || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
