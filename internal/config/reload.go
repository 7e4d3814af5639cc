package config

import (
	"reflect"
	"slices"
	"strings"
)

// live are the fields that a running signerd takes over; a change of any other needs a restart. Names of sections stand for all
// that is in them.
var live = []string{
	"administrators", "sandbox_only", "tls.certificate", "tls.key", "tls.client_ca", "tls.crls", "tls.refused_serials", "next_root_key", "shutdown_timeout", "log_level",
}

// Live reports whether a running signerd takes over a change of the field, which is named as in the file: tls.crls.
func Live(field string) bool {
	return slices.ContainsFunc(live, func(name string) bool { return field == name || strings.HasPrefix(field, name+".") })
}

// NeedsRestart names the fields in which next differs from c and which a running signerd does not take over.
func (c *Config) NeedsRestart(next *Config) []string {
	return changed("", reflect.ValueOf(*c), reflect.ValueOf(*next))
}

func changed(prefix string, a, b reflect.Value) []string {
	var out []string
	for i := range a.NumField() {
		tag := a.Type().Field(i).Tag.Get("yaml")
		if tag == "" || Live(prefix+tag) {
			continue
		}
		if a.Field(i).Kind() == reflect.Struct {
			out = append(out, changed(prefix+tag+".", a.Field(i), b.Field(i))...)
			continue
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			out = append(out, prefix+tag)
		}
	}
	return out
}
