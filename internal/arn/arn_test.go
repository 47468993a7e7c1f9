package arn_test

import (
	"testing"

	"github.com/opensesame-kms/opensesame/internal/arn"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]arn.ARN{
		"acs:kms:cn-hangzhou:1234567890123456:secret/bailian!demo": {Service: "kms", Region: "cn-hangzhou", Account: "1234567890123456", Resource: "secret/bailian!demo"},
		"acs:kms:cn-hangzhou:1:secret/a/b:c":                       {Service: "kms", Region: "cn-hangzhou", Account: "1", Resource: "secret/a/b:c"},
		"acs:ram::1:role/x":                                        {Service: "ram", Account: "1", Resource: "role/x"},
	} {
		got, err := arn.Parse(s)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", s, got, err, want)
		}
		if got.String() != s {
			t.Errorf("String() = %q, want %q", got, s)
		}
	}
	for _, s := range []string{"", "acs", "acs:kms:r:a", "acs:kms:r:a:", "arn:kms:r:a:x", "acs::r:a:x"} {
		if got, err := arn.Parse(s); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", s, got)
		}
	}
}

func TestParts(t *testing.T) {
	a := arn.Secret("r", "1", "mcp!a/b")
	if a.Type() != "secret" || a.Name() != "mcp!a/b" {
		t.Errorf("Type, Name = %q, %q", a.Type(), a.Name())
	}
	if c := arn.SecretContainer("r", "1"); c.Type() != "secret" || c.Name() != "" {
		t.Errorf("container: Type, Name = %q, %q", c.Type(), c.Name())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("acs:kms:cn-hangzhou:1234567890123456:secret/bailian!demo")
	f.Add("acs:ram::1:role/x")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := arn.Parse(s)
		if err == nil && a.String() != s {
			t.Errorf("Parse(%q).String() = %q", s, a)
		}
	})
}
