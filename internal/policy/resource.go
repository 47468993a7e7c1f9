package policy

import (
	"strings"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

// Everything is the resource of operations that act on no particular thing
// (ListKmsInstances, CreateServiceLinkedRole). Only the pattern "*" covers it.
// An ARN without a service is taken for it.
var Everything = arn.ARN{Resource: "*"}

const rolePrefix = "role/"

// thing is a resource of a question, ready to be compared: RAM has no region,
// so that acs:ram::… and acs:ram:*:… are one; role names are compared without
// regard to case, because the ARN of a service-linked role has the name in
// lower case.
type thing struct {
	arn.ARN
	role bool
}

func newThing(a arn.ARN) thing {
	t := thing{ARN: a}
	if a.Service == "" {
		t.ARN = Everything
	}
	if a.Service == "ram" {
		t.Region = ""
		if t.role = strings.HasPrefix(a.Resource, rolePrefix); t.role {
			t.Resource = strings.ToLower(a.Resource)
		}
	}
	return t
}

// String is the text that patterns of fewer than five segments look at.
func (t *thing) String() string {
	if t.Service == "" {
		return t.Resource
	}
	return t.ARN.String()
}

// resourcePattern is the pattern of a resource name. With five segments or
// more it is compared segment by segment, so that a wildcard in the region
// can't swallow the account; with fewer it looks at the whole text.
type resourcePattern struct {
	any   bool       // "*"
	whole bool       // fewer than five segments: seg[0] is for the whole text
	seg   [5]pattern // acs, service, region, account, relative id
	role  pattern    // relative id for roles, in lower case
}

func newResourcePattern(s string) resourcePattern {
	if s == "*" {
		return resourcePattern{any: true}
	}
	parts := strings.SplitN(s, ":", 5)
	if len(parts) < 5 {
		return resourcePattern{whole: true, seg: [5]pattern{newPattern(s)}}
	}
	var p resourcePattern
	for i, part := range parts {
		p.seg[i] = newPattern(part)
	}
	p.role = newPattern(strings.ToLower(parts[4]))
	return p
}

func (p *resourcePattern) match(t *thing) bool {
	switch {
	case p.any:
		return true
	case p.whole:
		return p.seg[0].match(t.String())
	case t.Service == "":
		return false
	case t.role && !p.role.match(t.Resource):
		return false
	case !t.role && !p.seg[4].match(t.Resource):
		return false
	}
	return p.seg[3].match(t.Account) && p.seg[2].match(t.Region) &&
		p.seg[1].match(t.Service) && p.seg[0].match("acs")
}

// reaches reports whether the pattern fits some thing of that service, region
// and account whose relative id begins with t's.
func (p *resourcePattern) reaches(t *thing) bool {
	switch {
	case p.any:
		return true
	case p.whole:
		return p.seg[0].reaches(t.String())
	}
	rel := &p.seg[4]
	if t.role {
		rel = &p.role
	}
	return rel.reaches(t.Resource) && p.seg[3].match(t.Account) && p.seg[2].match(t.Region) &&
		p.seg[1].match(t.Service) && p.seg[0].match("acs")
}

// fill puts the values of the scope in place of the placeholders ${region} and
// ${account}. Any other ${…} stays as it is, and so do these two where the
// scope has no value: no name holds such a text, so they match nothing.
func (s Scope) fill(text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	if s.Region != "" {
		text = strings.ReplaceAll(text, "${region}", s.Region)
	}
	if s.Account != "" {
		text = strings.ReplaceAll(text, "${account}", s.Account)
	}
	return text
}
