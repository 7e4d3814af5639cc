package config

import "github.com/signerd/signerd/internal/tracing"

// check finds the first fault, and calls fault with its path in the file.
func (t Tracing) check(fault func(path []any, format string, args ...any) error) error {
	switch {
	case t.Endpoint == "" && (t.CAFile != "" || t.SampleRatio != defaults().Tracing.SampleRatio):
		return fault([]any{"tracing", "endpoint"}, "it is required with the other fields of tracing")
	case !(t.SampleRatio >= 0 && t.SampleRatio <= 1): // NaN is neither
		return fault([]any{"tracing", "sample_ratio"}, "it is outside 0 to 1")
	case t.Endpoint == "":
		return nil
	}
	if err := tracing.CheckEndpoint(t.Endpoint); err != nil {
		return fault([]any{"tracing", "endpoint"}, "%w", err)
	}
	return nil
}
