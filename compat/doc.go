// Package compat holds tests that run the official, unmodified SDKs of Alibaba
// Cloud against a real server: what they decode is what is checked. Where an
// SDK and the server disagree, the SDK is right.
//
// It is a module of its own, so that the SDKs and what they need are no
// dependencies of the server.
package compat
