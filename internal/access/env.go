package access

import (
	"strings"
	"time"

	"github.com/opensesame-kms/opensesame/internal/identity"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// env answers the condition keys that a policy may ask for.
type env struct {
	p      *identity.Principal
	req    *Request
	target *Target
}

// Values returns the values of a condition key in this request; ok is false
// for a key that the request does not have.
func (e *env) Values(key string) ([]string, bool) {
	switch key {
	case "acs:CurrentTime":
		return []string{e.req.Now.UTC().Format(time.RFC3339)}, true
	case "acs:SecureTransport":
		if e.req.TLS {
			return []string{"true"}, true
		}
		return []string{"false"}, true
	case "acs:SourceIp":
		if !e.req.Source.IsValid() {
			return nil, false
		}
		return []string{e.req.Source.Unmap().String()}, true
	case "acs:PrincipalARN":
		return []string{e.p.ARN().String()}, true
	}
	if v, ok := e.target.Keys.Values(key); ok {
		return v, true
	}
	for _, prefix := range []string{"acs:ResourceTag/", "kms:tag/"} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			return tagValue(e.target.Tags, name)
		}
	}
	if name, ok := strings.CutPrefix(key, "acs:RequestTag/"); ok {
		return tagValue(e.target.RequestTags, name)
	}
	return nil, false
}

func tagValue(tags []store.Tag, key string) ([]string, bool) {
	for _, t := range tags {
		if t.Key == key {
			return []string{t.Value}, true
		}
	}
	return nil, false
}
