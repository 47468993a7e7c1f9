package rpc

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/identity"
)

// Request is one request as the gateway decoded it.
type Request struct {
	identity.Request
	// ID is the request id, an upper-case UUID made by the gateway.
	ID string
	// JSON holds the members of a JSON body, scalars as text, the rest as
	// compact JSON.
	JSON []identity.Param
	// Malformed is what the gateway could not decode; nil if all is well. It is
	// answered before anything else is looked at.
	Malformed *apierr.Error
	// Source is the caller's address, TLS whether the connection is encrypted.
	Source netip.Addr
	TLS    bool
}

// Response is what the gateway sends.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// Stream is sent instead of Body if it is not nil. Whoever holds the
	// Response closes it.
	Stream Stream
}

// params merges query, form and JSON into one map. A parameter that is given
// twice, wherever, is refused: two readers could understand it in two ways.
func (r *Request) params(op *Info) (map[string]string, error) {
	out := make(map[string]string, len(r.Query)+len(r.Form)+len(r.JSON))
	for _, list := range [][]identity.Param{r.Query, r.Form, r.JSON} {
		for _, p := range list {
			if _, twice := out[p.Name]; twice {
				return nil, repeated(op, p.Name)
			}
			out[p.Name] = p.Value
		}
	}
	return out, nil
}

// repeated is the refusal of a parameter that is given twice. Some products
// write the parameter's name into the code: a name that is no parameter of the
// operation, and so a stranger's own text, does not get there.
func repeated(op *Info, name string) error {
	const why = "it is given more than once"
	if slices.Contains(op.Params, name) {
		return BadParam{name, Value, why}
	}
	return apierr.InvalidParameter(name, why)
}
