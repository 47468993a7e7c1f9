package rpc

import (
	"fmt"

	"github.com/opensesame-kms/opensesame/internal/apierr"
)

// Fault is what is wrong with a parameter.
type Fault uint8

// The faults that products distinguish.
const (
	Missing Fault = iota + 1
	Length        // too long or too short
	Chars         // characters that are not allowed
	Format        // not of the form
	Value         // not in the range or set
)

// BadParam describes a refused parameter. It is an error: Bind methods of
// parameter types and operations return it, and the pipeline lets the product
// put it into its own words. Field may be empty in a parameter type's Bind,
// which does not know its name.
type BadParam struct {
	Field string
	Fault Fault
	// Why says what would be valid. It must not repeat the value.
	Why string
}

// Error names the field and what is wrong with it.
func (b BadParam) Error() string { return fmt.Sprintf("parameter %s: %s", b.Field, b.Why) }

func badKMS(b BadParam) *apierr.Error {
	if b.Fault == Missing {
		return apierr.MissingParameter(b.Field)
	}
	return apierr.InvalidParameter(b.Field, b.Why)
}

func badSTS(b BadParam) *apierr.Error {
	switch {
	case b.Fault == Missing:
		return apierr.MissingParam.Msg("The input parameter %q that is mandatory for processing this request is not supplied.", b.Field)
	case b.Field == "Policy" && b.Fault == Length:
		return apierr.PolicySize
	case b.Field == "Policy":
		return apierr.PolicyGrammar.Msg("The parameter Policy has not passed grammar check: %s", b.Why)
	}
	e := apierr.InvalidParam.Msg("The parameter %s is wrongly formed: %s", b.Field, b.Why)
	e.Code = "InvalidParameter." + b.Field
	return e
}

func badRAM(b BadParam) *apierr.Error {
	text := map[Fault]struct{ suffix, format string }{
		Length: {".Length", "The parameter - %q beyond the length limit: %s"},
		Chars:  {".InvalidChars", "The parameter - %q contains invalid chars: %s"},
		Format: {".Format", "The format of the parameter - %q is incorrect: %s"},
		Value:  {"", "The parameter - %q is incorrect: %s"},
	}
	if b.Fault == Missing {
		return apierr.MissingParam.Msg("%s is mandatory for this action.", b.Field)
	}
	t := text[b.Fault]
	e := apierr.InvalidParam.Msg(t.format, b.Field, b.Why)
	e.Code = "InvalidParameter." + b.Field + t.suffix
	return e
}
