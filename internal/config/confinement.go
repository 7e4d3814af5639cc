package config

import "slices"

// Confinement says how far a serving signerd shuts itself in.
type Confinement string

// Degrees of confinement.
const (
	// ConfineBestEffort hides the memory, and takes what the kernel has of Landlock.
	ConfineBestEffort Confinement = "best-effort"
	// ConfineRequired is ConfineBestEffort, and does not start where the kernel has no Landlock.
	ConfineRequired Confinement = "required"
	// ConfineOff does nothing, for debuggers.
	ConfineOff Confinement = "off"
)

func (c Confinement) known() bool {
	return slices.Contains([]Confinement{ConfineBestEffort, ConfineRequired, ConfineOff}, c)
}
