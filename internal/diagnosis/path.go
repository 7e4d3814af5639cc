package diagnosis

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// pathVariant is a path that may have been signed in place of the one that was sent.
type pathVariant struct {
	Finding
	path string
}

const advicePath = "sign the target as it goes on the wire: take it from the request that the HTTP library has prepared, not from what it was made of"

// pathVariants are the usual other paths, each once.
func pathVariants(r Request) []pathVariant {
	sent, query := r.path(), r.query()
	var all []pathVariant
	add := func(cause Cause, signed, text, advice string) {
		if signed != sent && !slices.ContainsFunc(all, func(v pathVariant) bool { return v.path == signed }) {
			all = append(all, pathVariant{Finding{cause, "path: " + text, advice}, signed})
		}
	}
	if query != "" {
		const text, advice = "the path was signed together with its query", "the path ends before the question mark: sign what stands before it"
		add(PathWithQuery, sent+"?"+query, text, advice)
		add(PathWithQuery, sent+"?"+sortedQuery(query), text+", whose parameters are in another order too", advice)
		if decoded, err := url.QueryUnescape(query); err == nil {
			add(PathWithQuery, sent+"?"+decoded, text+", percent-decoded", advice)
		}
	}
	for _, host := range hosts(r) {
		const text = "the path was signed together with the host"
		add(PathWithHost, host+sent, text, "sign the path alone, without scheme and host")
		if query != "" {
			add(PathWithHost, host+r.Target, text+" and the query", "sign the path alone, without scheme, host and query")
		}
	}
	if trimmed := strings.TrimRight(sent, "/"); trimmed != sent {
		add(PathSlash, trimmed, "the path you sent has a trailing slash that the signed one has not", advicePath)
	}
	add(PathSlash, sent+"/", "the signed path has a trailing slash that the one you sent has not", advicePath)
	add(PathPrefix, strings.TrimPrefix(sent, "/"), "the signed path has no slash at its start", advicePath)
	for _, signed := range encodings(sent) {
		add(PathEncoding, signed, fmt.Sprintf("the path was percent-encoded in another way when it was signed: signed %s, sent %s", shown(signed), shown(sent)), advicePath)
	}
	add(PathEncoding, path.Clean(sent), "the path was signed without the dots and double slashes that were sent", advicePath)
	add(PathDiffers, strings.ToLower(sent), "the path was signed in lower case", advicePath)
	for rest, n := sent, 0; n < 3; n++ {
		at := strings.IndexByte(strings.TrimPrefix(rest, "/"), '/')
		if at < 0 {
			break
		}
		rest = rest[at+1:]
		add(PathPrefix, rest, fmt.Sprintf("the path was signed without its beginning %s", shown(strings.TrimSuffix(sent, rest))),
			"sign the whole path, with what the base URL holds")
	}
	return all
}

func hosts(r Request) []string {
	if r.Host == "" {
		return nil
	}
	if r.Scheme == "" {
		return []string{"https://" + r.Host, "http://" + r.Host, r.Host}
	}
	return []string{r.Scheme + "://" + r.Host, r.Host}
}

func sortedQuery(query string) string {
	pairs := strings.Split(query, "&")
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// encodings are other ways to write the same path.
func encodings(sent string) []string {
	var all []string
	if decoded, err := url.PathUnescape(sent); err == nil {
		all = append(all, decoded, (&url.URL{Path: decoded}).EscapedPath(), escapeAll(decoded))
	}
	return append(all, mapEscapes(sent, strings.ToLower), mapEscapes(sent, strings.ToUpper), strings.ReplaceAll(sent, "%20", "+"), strings.ReplaceAll(sent, "+", "%20"),
		strings.ReplaceAll(sent, "%", "%25"), strings.ReplaceAll(sent, "%25", "%"))
}

// escapeAll escapes in each segment all but the unreserved characters, as encodeURIComponent and quote(safe="") do.
func escapeAll(decoded string) string {
	segments := strings.Split(decoded, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	}
	return strings.Join(segments, "/")
}

// mapEscapes changes the hexadecimal digits of escapes alone.
func mapEscapes(s string, change func(string) string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			b.WriteString("%" + change(s[i+1:i+3]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// fitPath names the difference between the path that was signed and the one that was sent; nil for none.
func fitPath(signed string, r Request) *Finding {
	sent := r.path()
	if signed == sent {
		return nil
	}
	for _, v := range pathVariants(r) {
		if v.path == signed {
			return &v.Finding
		}
	}
	both := fmt.Sprintf("signed %s, sent %s", shown(signed), shown(sent))
	switch {
	case strings.Contains(signed, "?"):
		return &Finding{PathWithQuery, "path: a query was signed with the path: " + both, "the path ends before the question mark: sign what stands before it"}
	case strings.Contains(signed, "://"):
		return &Finding{PathWithHost, "path: scheme and host were signed with the path: " + both, "sign the path alone, without scheme and host"}
	case strings.HasSuffix(signed, sent):
		return &Finding{PathPrefix, "path: the signed path begins with more than was sent: " + both, "does a proxy on the way cut the beginning off? sign what arrives at the partner"}
	case strings.HasSuffix(sent, signed):
		return &Finding{PathPrefix, "path: the path was signed without its beginning: " + both, "sign the whole path, with what the base URL holds"}
	case strings.EqualFold(signed, sent):
		return &Finding{PathDiffers, "path: it differs in upper and lower case: " + both, advicePath}
	}
	return &Finding{PathDiffers, "path: " + both, advicePath}
}
