package store

import "strings"

// shape is the form of a collection's keys below Prefix: segments divided by
// "/", of which "*" stands for a part of the record's key. A last "*" matches
// the whole rest, "/" included.
type shape struct {
	pattern  string
	segments []string
	stars    int
}

func parseShape(pattern string) shape {
	s := shape{pattern: pattern, segments: strings.Split(pattern, "/")}
	for _, seg := range s.segments {
		switch {
		case seg == "*":
			s.stars++
		case seg == "" || strings.Contains(seg, "*"):
			panic("store: bad shape " + pattern)
		}
	}
	return s
}

// fill puts the parts of key in place of the stars. It reports false for a key
// with too few parts or an empty one, or with parts too many where the shape
// does not end in a star.
func (s *shape) fill(key string) (string, bool) {
	if s.stars == 0 {
		return s.pattern, key == ""
	}
	var b strings.Builder
	b.Grow(len(s.pattern) + len(key))
	left, rest := s.stars, key
	for i, seg := range s.segments {
		if i > 0 {
			b.WriteByte('/')
		}
		if seg == "*" {
			left--
			if left == 0 {
				seg, rest = rest, ""
				if i < len(s.segments)-1 && strings.Contains(seg, "/") {
					return "", false
				}
			} else {
				seg, rest, _ = strings.Cut(rest, "/")
			}
			if seg == "" {
				return "", false
			}
		}
		b.WriteString(seg)
	}
	return b.String(), true
}

// shapeNode is a node of the tree by which a key finds its collection: one step
// per segment, literals before stars.
type shapeNode struct {
	literals map[string]*shapeNode
	star     *shapeNode
	leaf     collection
	// rest: this node is a last star and takes all that follows.
	rest bool
}

func (n *shapeNode) insert(s shape, c collection) {
	for i, seg := range s.segments {
		if n.rest {
			panic("store: " + s.pattern + " lies below another collection")
		}
		last := i == len(s.segments)-1
		if seg == "*" {
			if n.star == nil {
				n.star = &shapeNode{rest: last}
			} else if last {
				panic("store: " + s.pattern + " covers another collection")
			}
			n = n.star
			continue
		}
		if n.literals == nil {
			n.literals = map[string]*shapeNode{}
		}
		if n.literals[seg] == nil {
			n.literals[seg] = &shapeNode{}
		}
		n = n.literals[seg]
	}
	if n.leaf != nil {
		panic("store: two collections of shape " + s.pattern)
	}
	n.leaf = c
}

// match returns the collection that path (an etcd key without Prefix) belongs
// to, and its key there; nil if none.
func (n *shapeNode) match(path string) (collection, string) {
	var first string
	var more []string
	stars := 0
	for rest, done := path, false; !done; {
		if n.rest {
			panic("store: unreachable: a last star has no children")
		}
		seg, tail, found := strings.Cut(rest, "/")
		done = !found
		if next := n.literals[seg]; next != nil {
			n, rest = next, tail
			continue
		}
		if n.star == nil {
			return nil, ""
		}
		n = n.star
		if n.rest {
			seg, done = rest, true
		}
		if seg == "" {
			return nil, ""
		}
		if stars++; stars == 1 {
			first = seg
		} else {
			more = append(more, seg)
		}
		rest = tail
	}
	if n.leaf == nil {
		return nil, ""
	}
	if len(more) == 0 {
		return n.leaf, first
	}
	return n.leaf, first + "/" + strings.Join(more, "/")
}
