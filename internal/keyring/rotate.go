package keyring

// Purposes returns all purposes, in the order in which a first start makes
// their keys.
func Purposes() []Purpose { return []Purpose{MAC, Token, AccessKey, Wrap} }

// ParseName splits the name of a ring key, "<purpose>/<version>", or reports
// false if it is none.
func ParseName(name string) (p Purpose, version uint32, ok bool) {
	n, ok := parseName(name)
	return n.purpose, n.version, ok
}

// Reseal opens what Seal made for the purpose and aad, and seals it under the
// current key. changed is false, and the result nil, if it is sealed under that
// already. Errors as those of Open and Seal.
func (r *Ring) Reseal(p Purpose, aad []byte, sealed []byte) (out []byte, changed bool, err error) {
	if ok, err := r.isCurrent(p, formatSealed, sealed); ok || err != nil {
		return nil, false, err
	}
	plaintext, err := r.Open(p, aad, sealed)
	if err != nil {
		return nil, false, err
	}
	defer plaintext.Wipe()
	out, err = r.Seal(p, aad, plaintext)
	return out, err == nil, err
}

// RewrapMaterial is Reseal for key material: the material itself stays, and with
// it all that it seals.
func (r *Ring) RewrapMaterial(ref KeyRef, sealed []byte) (out []byte, changed bool, err error) {
	if err := ref.complete(); err != nil {
		return nil, false, err
	}
	if ok, err := r.isCurrent(Wrap, formatMaterial, sealed); ok || err != nil {
		return nil, false, err
	}
	b, _ := parseBlob(formatMaterial, sealed)
	old, err := r.opener(Wrap, b.key)
	if err != nil {
		return nil, false, err
	}
	material, err := old.aead.Open(nil, b.message, ref.materialAAD(nil, b.key))
	if err != nil || len(material) != KeySize {
		return nil, false, ErrOpen
	}
	defer clear(material)
	k, err := r.sealer(Wrap)
	if err != nil {
		return nil, false, err
	}
	out, err = sealBlob(k.aead, formatMaterial, k.name.version, ref.materialAAD(nil, k.name.version), material)
	return out, err == nil, err
}

// isCurrent reports whether a blob of the format names the current version of
// the purpose's key. That it opens is not checked.
func (r *Ring) isCurrent(p Purpose, format byte, sealed []byte) (bool, error) {
	b, ok := parseBlob(format, sealed)
	if !ok {
		return false, ErrOpen
	}
	k, err := r.sealer(p)
	if err != nil {
		return false, err
	}
	return b.key == k.name.version, nil
}

// Before returns the names of the purpose's keys that are older than version.
func Before(names []string, p Purpose, version uint32) []string {
	var out []string
	for _, name := range names {
		if q, v, ok := ParseName(name); ok && q == p && v < version {
			out = append(out, name)
		}
	}
	return out
}
