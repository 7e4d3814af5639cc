package config

import (
	"slices"
	"time"
)

// Audit says where and how calls are recorded.
type Audit struct {
	// Dir is the folder of the log; `signerd init` makes it, mode 0700. Nothing else may be in it. Required.
	Dir string `yaml:"dir"`
	// Timeout is how long a call waits for its record before it is refused: 100ms to 1m. Default: 5s.
	Timeout Duration `yaml:"timeout"`
	// MaxFileBytes is the size at which another file is begun: 1048576 to 4294967296. Default: 67108864 (64 MiB).
	MaxFileBytes int64 `yaml:"max_file_bytes"`
	// MaxFileAge is the age at which another file is begun: 1m to 8760h. Default: 24h.
	MaxFileAge Duration `yaml:"max_file_age"`
	// Retention is how long records are kept at least; whole files are deleted. 24h and more. Default: for ever.
	Retention Duration `yaml:"retention"`
	// QueryValues puts the values of query parameters on record, beside their names. Default: false.
	QueryValues bool `yaml:"query_values"`
	// Copy is where every record goes as well, whether it arrives or not: stdout or syslog. Default: nowhere.
	Copy string `yaml:"copy"`
}

// Where copies go.
const (
	CopyToStdout = "stdout"
	CopyToSyslog = "syslog"
)

func (a Audit) check(fault func(path []any, format string, args ...any) error) error {
	switch {
	case a.Timeout < Duration(100*time.Millisecond) || a.Timeout > Duration(time.Minute):
		return fault([]any{"audit", "timeout"}, "it is outside 100ms to 1m")
	case a.MaxFileBytes < 1<<20 || a.MaxFileBytes > 4<<30:
		return fault([]any{"audit", "max_file_bytes"}, "it is outside 1048576 to 4294967296")
	case a.MaxFileAge < Duration(time.Minute) || a.MaxFileAge > Duration(8760*time.Hour):
		return fault([]any{"audit", "max_file_age"}, "it is outside 1m to 8760h")
	case a.Retention != 0 && a.Retention < Duration(24*time.Hour):
		return fault([]any{"audit", "retention"}, "it is under 24h; leave it out to keep records for ever")
	case !slices.Contains([]string{"", CopyToStdout, CopyToSyslog}, a.Copy):
		return fault([]any{"audit", "copy"}, "wanted stdout or syslog")
	}
	return nil
}
