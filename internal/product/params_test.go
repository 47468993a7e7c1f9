package product

import (
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/policy"
)

func TestParams(t *testing.T) {
	bind := map[string]func(text string) error{
		"service": func(s string) error { return new(ServiceName).BindParam(s) },
		"product": func(s string) error { return new(ID).BindParam(s) },
		"role":    func(s string) error { return new(RoleName).BindParam(s) },
		"name":    func(s string) error { return new(DisplayName).BindParam(s) },
		"quota":   func(s string) error { return new(Quota).BindParam(s) },
		"code":    func(s string) error { return checkCodes("ProductCodes", strings.Split(s, ",")) },
		"modes":   func(s string) error { _, err := hostingModes(strings.Split(s, ",")); return err },
	}
	for _, tt := range []struct {
		kind string
		good []string
		bad  []string
	}{
		{"service", []string{"a.b", "kms.alb.aliyuncs.com", "a-b.c1"}, []string{"", "a", "a.", ".a", "a..b", "A.b", "a-.b", "-a.b", "a b.c", "a.b\n", "1@a.b", `"a.b`, strings.Repeat("a", 127) + ".b"}},
		{"product", []string{"a", "model-studio", "a1"}, []string{"", "1a", "A", "a_b", "a!b", strings.Repeat("a", 65)}},
		{"role", []string{"AliyunServiceRoleForX", rolePrefix + strings.Repeat("a", 38)}, []string{"", "admin", "AliyunServiceRoleFor", "AliyunServiceRoleForA-b", rolePrefix + strings.Repeat("a", 39)}},
		{"name", []string{"Model Studio", "模型", strings.Repeat("é", 128)}, []string{"a\nb", "a\x00", strings.Repeat("a", 129)}},
		{"quota", []string{"0", "1000000", "default"}, []string{"-1", "1000001", "many", "1.5", ""}},
		{"code", []string{"a", "bailian-apikey", "a,b", "acsx"}, []string{"", "acs", "A", "a!", "1", "a,a", "a,acs", strings.Repeat("a", 33)}},
		{"modes", []string{"Free", "Paid,Free", "Free,Free"}, []string{"free", "", "Free,None"}},
	} {
		for _, text := range tt.good {
			if err := bind[tt.kind](text); err != nil {
				t.Errorf("%s %q: %v", tt.kind, text, err)
			}
		}
		for _, text := range tt.bad {
			if bind[tt.kind](text) == nil {
				t.Errorf("%s %q is accepted", tt.kind, text)
			}
		}
	}
}

// TestDefaultRoleName: whatever a service is called, its role has a good name.
func TestDefaultRoleName(t *testing.T) {
	for service, want := range map[string]string{
		"keys.example.com":                         "AliyunServiceRoleForKeysExampleCom",
		"kms-access.sfm.x1.org":                    "AliyunServiceRoleForKmsAccessSfmX1Org",
		strings.Repeat("a", 60) + ".b":             rolePrefix + "A" + strings.Repeat("a", 37),
		"a.bcd" + strings.Repeat(".b", 58) + ".cc": rolePrefix + "ABcd" + strings.Repeat("B", 34),
	} {
		if err := new(ServiceName).BindParam(service); err != nil {
			t.Fatal(err)
		}
		got := defaultRoleName(service)
		if string(got) != want || new(RoleName).BindParam(string(got)) != nil {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
	}
}

// TestRolePolicyCompiles: with any number of codes.
func TestRolePolicyCompiles(t *testing.T) {
	var most []string
	for range maxServiceCodes {
		most = append(most, strings.Repeat("c", 32))
	}
	for _, codes := range [][]string{nil, {"a"}, {"a", "b-c"}, most} {
		if _, err := policy.Compile(policy.Identity, rolePolicy(strings.Repeat("a", 126)+".b", codes...), policy.Scope{}); err != nil {
			t.Errorf("%d codes: %v", len(codes), err)
		}
	}
}
