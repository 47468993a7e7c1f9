package policy

import (
	"fmt"
	"slices"
	"strings"
)

type compiler struct {
	kind  Kind
	scope Scope
}

func (c *compiler) document(root *node) (*Document, *SyntaxError) {
	if root.kind != '{' {
		return nil, fault(root.at, "", "The document must be a JSON object.")
	}
	if err := known(root, "", "Version", "Statement"); err != nil {
		return nil, err
	}
	version, list := root.find("Version"), root.find("Statement")
	switch {
	case version == nil:
		return nil, fault(root.at, "", "The element Version is missing.")
	case version.kind != 's' || version.text != "1":
		return nil, fault(version.at, "Version", `The Version must be "1".`)
	case list == nil:
		return nil, fault(root.at, "", "The element Statement is missing.")
	case list.kind != '[':
		return nil, fault(list.at, "Statement", "The Statement must be an array.")
	case len(list.items) == 0:
		return nil, fault(list.at, "Statement", "The Statement must not be empty.")
	}
	d := &Document{kind: c.kind, statements: make([]statement, len(list.items))}
	for i := range list.items {
		if err := c.statement(&d.statements[i], &list.items[i], fmt.Sprintf("Statement[%d]", i)); err != nil {
			return nil, err
		}
		d.statements[i].index = i
	}
	return d, nil
}

// known refuses members that are not on the list.
func known(n *node, path string, names ...string) *SyntaxError {
	for _, m := range n.members {
		if !slices.Contains(names, m.key) {
			return fault(m.at, path, "The element %s is not supported.", quote(m.key))
		}
	}
	return nil
}

func (c *compiler) statement(s *statement, n *node, path string) *SyntaxError {
	if n.kind != '{' {
		return fault(n.at, path, "A statement must be a JSON object.")
	}
	if err := known(n, path, c.elements()...); err != nil {
		return err
	}
	steps := []func(*statement, *node, string) *SyntaxError{
		c.sid, c.effect, c.actions, c.resources, c.principals, c.conditions, c.federation,
	}
	for _, step := range steps {
		if err := step(s, n, path); err != nil {
			return err
		}
	}
	return nil
}

// elements returns what a statement of this kind may have.
func (c *compiler) elements() []string {
	switch c.kind {
	case Trust:
		return []string{"Sid", "Effect", "Principal", "Action", "Condition"}
	case Resource:
		return []string{"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "Condition"}
	}
	return []string{"Sid", "Effect", "Action", "NotAction", "Resource", "Condition"}
}

func (c *compiler) sid(s *statement, n *node, path string) *SyntaxError {
	v := n.find("Sid")
	if v == nil {
		return nil
	}
	path = join(path, "Sid")
	if v.kind != 's' {
		return fault(v.at, path, "The Sid must be a string.")
	}
	// Spaces are allowed because the default policies of secrets and keys
	// have them.
	if v.text != "" && !isName(v.text, "_/+=.@- ") || len(v.text) > maxSid {
		return fault(v.at, path, "The Sid may have at most %d letters, digits, spaces and characters of _/+=.@-.", maxSid)
	}
	s.sid = v.text
	return nil
}

func (c *compiler) effect(s *statement, n *node, path string) *SyntaxError {
	v := n.find("Effect")
	if v == nil {
		return fault(n.at, path, "The element Effect is missing.")
	}
	if v.kind != 's' || v.text != "Allow" && v.text != "Deny" {
		return fault(v.at, join(path, "Effect"), `The Effect must be "Allow" or "Deny".`)
	}
	s.deny = v.text == "Deny"
	return nil
}

func (c *compiler) actions(s *statement, n *node, path string) *SyntaxError {
	name, v, not := "Action", n.find("Action"), n.find("NotAction")
	switch {
	case v != nil && not != nil:
		return fault(not.at, path, "A statement can't have both Action and NotAction.")
	case v == nil && not == nil:
		return fault(n.at, path, "The element Action is missing.")
	case v == nil:
		name, v, s.notAction = "NotAction", not, true
	}
	path = join(path, name)
	values, err := texts(v, path, false)
	if err != nil {
		return err
	}
	for _, text := range values {
		if why := c.actionFault(text); why != "" {
			return fault(v.at, path, "The action %s %s.", quote(text), why)
		}
		s.actions = append(s.actions, newPattern(strings.ToLower(text)))
	}
	return nil
}

// actionFault says what is wrong with an action pattern, or nothing.
func (c *compiler) actionFault(text string) string {
	service, operation, ok := strings.Cut(text, ":")
	switch {
	case c.kind == Trust && !strings.EqualFold(service, "sts"):
		return "is not supported in a trust policy: want sts:AssumeRole"
	case c.kind == Resource && !strings.EqualFold(service, "kms"):
		return "is not supported in the policy of a secret or key: want kms:<operation>"
	case text == "*":
		return ""
	case !ok || !isName(service, "*?-_.") || !isName(operation, "*?-_./:"):
		return "is not of the form <service>:<operation>"
	}
	return ""
}

func (c *compiler) resources(s *statement, n *node, path string) *SyntaxError {
	if c.kind == Trust {
		return nil
	}
	v := n.find("Resource")
	if v == nil {
		return fault(n.at, path, "The element Resource is missing.")
	}
	values, err := texts(v, join(path, "Resource"), false)
	if err != nil {
		return err
	}
	for _, text := range values {
		s.resources = append(s.resources, newResourcePattern(c.scope.fill(text)))
	}
	return nil
}

func (c *compiler) principals(s *statement, n *node, path string) *SyntaxError {
	if c.kind != Trust && c.kind != Resource {
		return nil
	}
	v := n.find("Principal")
	if v == nil {
		return fault(n.at, path, "The element Principal is missing.")
	}
	path = join(path, "Principal")
	groups := []string{"RAM"}
	if c.kind == Trust {
		groups = []string{"RAM", "Service", "Federated"}
	}
	if v.kind != '{' || len(v.members) == 0 {
		return fault(v.at, path, "The Principal must be an object with one of %s.", strings.Join(groups, ", "))
	}
	for i := range v.members {
		m := &v.members[i]
		if !slices.Contains(groups, m.key) {
			return fault(m.at, path, "The principal type %s is not supported: want one of %s.", quote(m.key), strings.Join(groups, ", "))
		}
		values, err := texts(&m.value, join(path, m.key), false)
		if err != nil {
			return err
		}
		for _, text := range values {
			p, err := parsePrincipal(c.kind, m.key, c.scope.fill(text))
			if err != nil {
				return fault(m.value.at, join(path, m.key), "%s.", sentence(err))
			}
			s.principals = append(s.principals, p)
		}
	}
	return nil
}

func (c *compiler) conditions(s *statement, n *node, path string) *SyntaxError {
	v := n.find("Condition")
	if v == nil {
		return nil
	}
	path = join(path, "Condition")
	if v.kind != '{' {
		return fault(v.at, path, "The Condition must be a JSON object.")
	}
	for i := range v.members {
		m := &v.members[i]
		op, ok := operators[m.key]
		if !ok {
			return fault(m.at, path, "The condition operator %s is not supported.", quote(m.key))
		}
		// Without a key the statement would apply always: surely not meant.
		if m.value.kind != '{' || len(m.value.members) == 0 {
			return fault(m.value.at, join(path, m.key), "A condition operator must have an object with at least one condition key.")
		}
		for j := range m.value.members {
			if err := c.condition(s, op, m.key, &m.value.members[j], join(path, m.key)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compiler) condition(s *statement, op operator, name string, m *member, path string) *SyntaxError {
	path = join(path, m.key)
	if m.key == "" {
		return fault(m.at, path, "A condition key must not be empty.")
	}
	values, err := texts(&m.value, path, true)
	if err != nil {
		return err
	}
	for i := range values {
		values[i] = c.scope.fill(values[i])
	}
	// SourceVpc has a value at KMS only; elsewhere a Deny or an Allow by it
	// would not do what its author thinks.
	if m.key == "acs:SourceVpc" && !onlyKMS(s) {
		return fault(m.at, path, "A statement with the condition key acs:SourceVpc may only list actions that start with kms:.")
	}
	test, wrong := op.compile(m.key, values)
	if wrong != nil {
		return fault(m.value.at, path, "%s.", sentence(wrong))
	}
	s.conditions = append(s.conditions, condition{operator: name, key: m.key, negated: op.negated, test: test})
	return nil
}

func onlyKMS(s *statement) bool {
	return !s.notAction && !slices.ContainsFunc(s.actions, func(p pattern) bool {
		return !strings.HasPrefix(p.text, "kms:")
	})
}

// federation makes sure that a statement which lets in the users of an OIDC
// provider says of which issuer: providers of many tenants share signing keys
// and domains.
func (c *compiler) federation(s *statement, n *node, path string) *SyntaxError {
	oidc := slices.ContainsFunc(s.principals, func(p named) bool {
		return p.Kind == Federated && strings.HasPrefix(p.Name, "oidc-provider/")
	})
	pinned := slices.ContainsFunc(s.conditions, func(c condition) bool {
		return c.operator == "StringEquals" && c.key == "oidc:iss"
	})
	if oidc && !s.deny && !pinned {
		return fault(n.at, path, "A statement for an OIDC provider must have the condition StringEquals oidc:iss.")
	}
	return nil
}

// texts reads a string or a list of strings. With lenient, bare booleans and
// numbers are read as the strings that they look like.
func texts(n *node, path string, lenient bool) ([]string, *SyntaxError) {
	items := []node{*n}
	if n.kind == '[' {
		items = n.items
	}
	if len(items) == 0 {
		return nil, fault(n.at, path, "The list must not be empty.")
	}
	out := make([]string, len(items))
	for i := range items {
		item := &items[i]
		switch {
		case item.kind == 's' && (item.text != "" || lenient):
		case item.kind == 's':
			return nil, fault(item.at, path, "The value must not be empty.")
		case lenient && (item.kind == 'n' || item.kind == 'b'):
		default:
			return nil, fault(item.at, path, "The value must be a string or a list of strings.")
		}
		out[i] = item.text
	}
	return out, nil
}

// sentence begins an error's text with a capital letter.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}
