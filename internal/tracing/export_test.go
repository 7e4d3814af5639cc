package tracing

import "context"

// Flush sends the spans that wait.
func (t *Tracing) Flush(ctx context.Context) error { return t.processor.ForceFlush(ctx) }
