package doctor

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// soon is from when on an expiry is a finding; `signerctl status` warns as early.
const soon = 30 * 24 * time.Hour

// Key looks at a key as signerd tells it. now is signerd's time, or near it.
func Key(k *adminv1.Key, now time.Time) []Finding {
	return []Finding{enabled(k), active(k), expiry(k, now)}
}

// Usable says whether a key can sign as far as its own state goes.
func Usable(k *adminv1.Key) bool { return k.GetEnabled() && active(k).Result == OK }

// EnvironmentName is "sandbox" or "prod".
func EnvironmentName(k *adminv1.Key) string {
	return strings.ToLower(strings.TrimPrefix(k.GetEnvironment().String(), "ENVIRONMENT_"))
}

func enabled(k *adminv1.Key) Finding {
	if !k.GetEnabled() {
		return Finding{"key", Fault, "an operator has disabled the key", "signerctl key enable " + k.GetName()}
	}
	return Finding{"key", OK, fmt.Sprintf("%s, %s, enabled", k.GetScheme(), EnvironmentName(k)), ""}
}

func activeVersion(k *adminv1.Key) *adminv1.KeyVersion {
	for _, v := range k.GetVersions() {
		if v.GetNumber() == k.GetActiveVersion() {
			return v
		}
	}
	return nil
}

func active(k *adminv1.Key) Finding {
	v := activeVersion(k)
	if v == nil {
		return Finding{"version", Fault, "no version is active", fmt.Sprintf("signerctl key activate %s --version N; a PENDING one also needs --api-key FILE", k.GetName())}
	}
	text := fmt.Sprintf("version %d is active (%s)", v.GetNumber(), v.GetAlgorithm())
	if v.GetState() == adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED {
		return Finding{"version", OK, text, ""}
	}
	state := strings.TrimPrefix(v.GetState().String(), "KEY_VERSION_STATE_")
	advice := fmt.Sprintf("signerctl key enable %s --version %d", k.GetName(), v.GetNumber())
	switch {
	case v.GetState() == adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED:
		advice = fmt.Sprintf("its material is gone for good: signerctl key activate %s --version N makes another one sign", k.GetName())
	case v.GetDestroyTime() != nil:
		state += ", and is to be destroyed"
		advice = fmt.Sprintf("signerctl key restore %s --version %d takes the destruction back", k.GetName(), v.GetNumber())
	}
	return Finding{"version", Fault, fmt.Sprintf("version %d is active, but %s", v.GetNumber(), state), advice}
}

func expiry(k *adminv1.Key, now time.Time) Finding {
	v := activeVersion(k)
	if v == nil {
		return Finding{"expiry", Skipped, "no version is active", ""}
	}
	if v.GetExpireTime() == nil {
		return Finding{"expiry", OK, fmt.Sprintf("no expiry date of version %d is noted", v.GetNumber()), ""}
	}
	ends := v.GetExpireTime().AsTime()
	left := ends.Sub(now)
	advice := fmt.Sprintf("get a new credential from the partner: signerctl key rotate %s, then key activate", k.GetName())
	if k.GetScheme() != "noah" {
		advice = fmt.Sprintf("get a new credential from the partner: signerctl key rotate %s with its files, then key activate", k.GetName())
	}
	switch at := ends.UTC().Format(time.RFC3339); {
	case left <= 0:
		return Finding{"expiry", Fault, fmt.Sprintf("version %d expired at the partner at %s", v.GetNumber(), at), advice}
	case left < soon:
		return Finding{"expiry", Fault, fmt.Sprintf("version %d expires at the partner at %s, within 30 days", v.GetNumber(), at), advice}
	default:
		return Finding{"expiry", OK, fmt.Sprintf("version %d expires at the partner at %s", v.GetNumber(), at), ""}
	}
}

// Environment compares NOAH's host, which hosts has by environment, with the key's environment.
func Environment(k *adminv1.Key, base *url.URL, hosts map[string]string) Finding {
	mine := EnvironmentName(k)
	for environment, host := range hosts {
		if strings.EqualFold("https://"+base.Hostname(), host) && environment != mine {
			return Finding{"environment", Fault, fmt.Sprintf("the key is for %s, but %s is the host of %s, which answers 401", mine, base.Hostname(), environment),
				"send to " + hosts[mine] + ", or sign with a key of " + environment}
		}
	}
	return Finding{"environment", OK, fmt.Sprintf("the key is for %s, and requests go to %s", mine, base.Host), ""}
}
