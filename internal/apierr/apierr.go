// Package apierr is the catalogue of the errors that leave the server: code,
// HTTP status and text, as the official clients know them. A service returns
// a row of the catalogue, as it stands or with a more precise message; any
// other error is a fault of the server, whose text goes to the log with the
// request id and never to the caller.
//
// Messages must not hold secret values. What they name (a parameter, an ARN, an
// action) the caller has sent itself or may know.
package apierr

import (
	"errors"
	"fmt"
)

// Error is an error as it goes over the wire. Rows of the catalogue are
// immutable; the methods return changed copies. errors.Is compares codes, so
// errors.Is(err, apierr.ResourceNotFound) holds for every copy of that row.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is what clients decide by, for example Forbidden.NoPermission.
	Code string
	// Message is for people; some clients look into it (see SignatureDoesNotMatch).
	Message string
	// Denied explains a refusal by policy or ownership; nil otherwise.
	Denied *Denied
	// RetryAfterMS, if not zero, is sent in the headers Retry-After (rounded up
	// to seconds) and x-acs-retry-after (milliseconds).
	RetryAfterMS int
	// RateLimit, if not empty, is sent in the headers x-ratelimit-user-api and
	// x-ratelimit-user, in the form "Limit:450,Remain:0,TimeLeft:500" (requests
	// per second, milliseconds).
	RateLimit string
	// Cause is for the server's log only.
	Cause error
}

// Denied is the AccessDeniedDetail of a refusal. All fields go over the wire
// as strings.
type Denied struct {
	AuthAction               string
	AuthPrincipalType        string
	AuthPrincipalOwnerId     string
	AuthPrincipalDisplayName string
	NoPermissionType         string
	PolicyType               string
}

// Error returns code and message; it never holds the cause.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Msg returns a copy with another message.
func (e *Error) Msg(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// Because returns a copy with a cause for the server's log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// WithDenied returns a copy that carries d.
func (e *Error) WithDenied(d *Denied) *Error {
	c := *e
	c.Denied = d
	return &c
}

// As returns the Error in err's tree, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// InvalidParameter is the KMS form of "this parameter is not valid": why says
// what would be valid.
func InvalidParameter(field, why string) *Error {
	return InvalidParam.Msg("The specified parameter %q is not valid: %s", field, why)
}

// MissingParameter is the refusal of a request that lacks a required parameter.
func MissingParameter(field string) *Error {
	return MissingParam.Msg("The parameter %q is needed but not provided.", field)
}
