package sts

import (
	"errors"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
)

func TestRoleARN(t *testing.T) {
	const account = "1000000000000001"
	for _, name := range []string{"a", "App.Role-1", strings.Repeat("r", 64)} {
		var r RoleARN
		if err := r.BindParam("acs:ram::" + account + ":role/" + name); err != nil || r != (RoleARN{account, name}) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	for _, text := range []string{
		"", "admin", "acs:ram::" + account, "acs:ram::" + account + ":role", "acs:ram::" + account + ":role/",
		"acs:ram::" + account + ":user/a", "acs:ram:*:" + account + ":role/a", "acs:ram:cn-hangzhou:" + account + ":role/a",
		"acs:kms::" + account + ":role/a", "arn:ram::" + account + ":role/a", "acs:ram:::role/a", "acs:ram::*:role/a",
		"acs:ram::" + account + ":role/a/b", "acs:ram::" + account + ":role/*", "acs:ram::" + account + ":role/a b",
		"acs:ram::" + account + ":role/" + strings.Repeat("r", 65), "acs:ram::" + account + "x:role/a",
		"acs:ram::" + strings.Repeat("1", 21) + ":role/a", " acs:ram::" + account + ":role/a",
	} {
		var r RoleARN
		var bad rpc.BadParam
		if err := r.BindParam(text); !errors.As(err, &bad) || bad.Fault != rpc.Format || r != (RoleARN{}) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestTexts(t *testing.T) {
	long := strings.Repeat("a", 1225)
	for _, tt := range []struct {
		dst  rpc.Binder
		text string
		want rpc.Fault
	}{
		{new(SessionName), "ab", 0},
		{new(SessionName), "A.b@c-d_9", 0},
		{new(SessionName), long[:64], 0},
		{new(SessionName), "a", rpc.Length},
		{new(SessionName), long[:65], rpc.Length},
		{new(SessionName), "a/b", rpc.Chars},
		{new(SessionName), "a:b", rpc.Chars},
		{new(SessionName), "日本", rpc.Chars},
		{new(ExternalID), "a_b+c=d,e.f@g:h/i-j", 0},
		{new(ExternalID), long[:1224], 0},
		{new(ExternalID), long, rpc.Length},
		{new(ExternalID), "a", rpc.Length},
		{new(ExternalID), "a b", rpc.Chars},
		{new(SourceIdentity), "Alice@example.com", 0},
		{new(SourceIdentity), "a\nb", rpc.Chars},
		{new(SourceIdentity), long[:65], rpc.Length},
	} {
		var bad rpc.BadParam
		err := tt.dst.BindParam(tt.text)
		if got := errors.As(err, &bad); got != (tt.want != 0) || bad.Fault != tt.want {
			t.Errorf("%T %q: %v, want fault %d", tt.dst, tt.text, err, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, ok := range map[string]bool{
		"900": true, "3600": true, "43200": true, "899": false, "0": false, "-1": false, "1h": false, "": false, "1e3": false,
		"99999999999999999999": false,
	} {
		var d Duration
		err := d.BindParam(text)
		if (err == nil) != ok || err != nil && !errors.Is(err, apierr.SessionDuration) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for most, want := range map[int]string{
		3600: "The Min/Max value of DurationSeconds is 15min/1hr.", 43200: "The Min/Max value of DurationSeconds is 15min/12hr.",
		5400: "The Min/Max value of DurationSeconds is 15min/1h30m0s.",
	} {
		if e := apierr.As(badDuration(most)); e.Message != want || e.Code != "InvalidParameter.DurationSeconds" || e.Status != 400 {
			t.Errorf("%d: %+v", most, e)
		}
	}
}

// FuzzRoleARN: what is accepted is exactly what is written back.
func FuzzRoleARN(f *testing.F) {
	f.Add("acs:ram::1000000000000001:role/admin")
	f.Add("acs:ram:*:1:role/a")
	f.Add("acs:ram::1:role/a/b")
	f.Add("acs:ram::\xff:role/\x00")
	f.Fuzz(func(t *testing.T, text string) {
		var r RoleARN
		if err := r.BindParam(text); err == nil && "acs:ram::"+r.Account+":role/"+r.Name != text {
			t.Errorf("%q was bound as %v", text, r)
		}
	})
}
