// Package policy is the access policy language of the server: documents are
// compiled when they are stored, and [Decide] answers one question, may this
// principal do this to that thing, together with all reasons for the answer.
//
// It computes and does nothing else. What a request knows comes in by [Query]
// and [Env]; there is no clock, no network and no store here, so the same
// question always has the same answer, be it for a request, an explanation or
// a test.
//
// It trusts its caller for who asks, for whose the thing is, and for having
// found every policy that applies. It does not trust the authors of policies:
// documents are parsed strictly, what is not understood is refused when it is
// stored, patterns are matched in bounded time, and whatever remains unclear
// at a decision (a key that the request lacks, a policy that could not be
// read, an unknown kind of principal) counts against access.
//
// The language is that of Alibaba Cloud's RAM, version 1. Where its public
// documentation is silent the choice made here stands at the code that makes
// it.
package policy
