package ram

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// fault binds text to a new T and returns what was wrong, 0 for nothing.
func fault[T any](t *testing.T, text string) rpc.Fault {
	t.Helper()
	dst := new(T)
	err := any(dst).(rpc.Binder).BindParam(text)
	if err == nil {
		if got := reflect.ValueOf(dst).Elem().String(); got != text {
			t.Errorf("%q was bound as %q", text, got)
		}
		return 0
	}
	var bad rpc.BadParam
	if !errors.As(err, &bad) {
		t.Fatalf("%q: %v is no BadParam", text, err)
	}
	if !reflect.ValueOf(dst).Elem().IsZero() {
		t.Errorf("%q was refused and bound nevertheless", text)
	}
	return bad.Fault
}

func TestParameterTypes(t *testing.T) {
	long := strings.Repeat("a", 129)
	for _, tt := range []struct {
		kind string
		bind func(*testing.T, string) rpc.Fault
		text string
		want rpc.Fault
	}{
		{"UserName", fault[UserName], "a", 0},
		{"UserName", fault[UserName], "A.b_c-9", 0},
		{"UserName", fault[UserName], long[:64], 0},
		{"UserName", fault[UserName], long[:65], rpc.Length},
		{"UserName", fault[UserName], "a/b", rpc.Chars},
		{"UserName", fault[UserName], "a*", rpc.Chars},
		{"UserName", fault[UserName], "日本", rpc.Chars},
		{"UserName", fault[UserName], strings.Repeat("日", 64), rpc.Chars},
		{"UserName", fault[UserName], strings.Repeat("日", 65), rpc.Length},
		{"UserName", fault[UserName], "a\n", rpc.Chars},
		{"RoleName", fault[RoleName], "A.b-9", 0},
		{"RoleName", fault[RoleName], "a_b", rpc.Chars},
		{"RoleName", fault[RoleName], long[:64], 0},
		{"RoleName", fault[RoleName], long[:65], rpc.Length},
		{"PolicyName", fault[PolicyName], "A-b9", 0},
		{"PolicyName", fault[PolicyName], "a.b", rpc.Chars},
		{"PolicyName", fault[PolicyName], long[:128], 0},
		{"PolicyName", fault[PolicyName], long, rpc.Length},
		{"PolicyType", fault[PolicyType], "System", 0},
		{"PolicyType", fault[PolicyType], "Custom", 0},
		{"PolicyType", fault[PolicyType], "custom", rpc.Value},
		{"DisplayName", fault[DisplayName], "Zoë 'the' Reader / 读者", 0},
		{"DisplayName", fault[DisplayName], strings.Repeat("日", 128), 0},
		{"DisplayName", fault[DisplayName], long, rpc.Length},
		{"DisplayName", fault[DisplayName], "a\tb", rpc.Chars},
		{"MobilePhone", fault[MobilePhone], "86-18600008888", 0},
		{"MobilePhone", fault[MobilePhone], "18600008888", rpc.Format},
		{"MobilePhone", fault[MobilePhone], "86-", rpc.Format},
		{"MobilePhone", fault[MobilePhone], "+86-18600008888", rpc.Format},
		{"MobilePhone", fault[MobilePhone], "86-186-0000", rpc.Format},
		{"Email", fault[Email], "alice@example.com", 0},
		{"Email", fault[Email], "alice", rpc.Format},
		{"Email", fault[Email], "@example.com", rpc.Format},
		{"Email", fault[Email], "alice@", rpc.Format},
		{"Email", fault[Email], "a@b@c", rpc.Format},
		{"Email", fault[Email], "a b@c", rpc.Format},
		{"Email", fault[Email], "a@" + long + long, rpc.Format},
	} {
		if got := tt.bind(t, tt.text); got != tt.want {
			t.Errorf("%s %q: fault %d, want %d", tt.kind, tt.text, got, tt.want)
		}
	}
}

func TestSuffixAndDescription(t *testing.T) {
	var s CustomSuffix
	if err := s.BindParam("a.b-9"); err != nil || s != "a.b-9" {
		t.Errorf("suffix a.b-9: %v", err)
	}
	if err := s.BindParam("a_b"); !errors.Is(err, apierr.SuffixChars) {
		t.Errorf("suffix a_b: %v", err)
	}
	if err := s.BindParam(strings.Repeat("a", 65)); !errors.Is(err, apierr.SuffixLength) {
		t.Errorf("long suffix: %v", err)
	}
	var d SLRDescription
	if err := d.BindParam(strings.Repeat("日", 1024)); err != nil {
		t.Errorf("description of 1,024 characters: %v", err)
	}
	if err := d.BindParam(strings.Repeat("a", 1025)); !errors.Is(err, apierr.DescriptionLength) {
		t.Errorf("description of 1,025 characters: %v", err)
	}
}

func TestNewTags(t *testing.T) {
	got, err := newTags([]Tag{{"team", "a"}, {"Team", ""}})
	if want := []store.Tag{{Key: "team", Value: "a"}, {Key: "Team"}}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("tags = %v, %v", got, err)
	}
	for _, tt := range []struct {
		tag  Tag
		want error
	}{
		{Tag{"", "x"}, apierr.InvalidTagKey},
		{Tag{"acs:x", ""}, apierr.InvalidTagKey},
		{Tag{"ALIYUN-x", ""}, apierr.InvalidTagKey},
		{Tag{"see http://x", ""}, apierr.InvalidTagKey},
		{Tag{strings.Repeat("k", 129), ""}, apierr.InvalidTagKey},
		{Tag{"k", strings.Repeat("v", 129)}, apierr.InvalidTagValue},
		{Tag{"k", "https://x"}, apierr.InvalidTagValue},
		{Tag{"k", "a\x00"}, apierr.InvalidTagValue},
		{Tag{"first", "again"}, apierr.DuplicateTagKey},
	} {
		if _, err := newTags([]Tag{{"first", "x"}, tt.tag}); !errors.Is(err, tt.want) {
			t.Errorf("tag %q: %v, want %v", tt.tag, err, tt.want)
		}
	}
}

// FuzzBind: no parameter type panics, accepts what is not UTF-8 or holds
// control characters, or binds something else than it was given.
func FuzzBind(f *testing.F) {
	for _, s := range []string{"alice", "86-1", "a@b", "System", "日本", "\xff", "a\x00", strings.Repeat("x", 2000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, dst := range []rpc.Binder{
			new(UserName), new(RoleName), new(PolicyName), new(PolicyType), new(DisplayName),
			new(MobilePhone), new(Email), new(CustomSuffix), new(SLRDescription),
		} {
			err := dst.BindParam(text)
			got := reflect.ValueOf(dst).Elem().String()
			if err == nil && got != text || err != nil && got != "" {
				t.Errorf("%T bound %q as %q, %v", dst, text, got, err)
			}
		}
	})
}

func TestAttachmentLimits(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    *bearer
		typ  string
		max  int
		full error
	}{
		{"user, system", &onUsers, store.PolicySystem, 20, apierr.UserPolicyLimit},
		{"user, custom", &onUsers, store.PolicyCustom, 10, apierr.UserPolicyLimit},
		{"role, system", &onRoles, store.PolicySystem, 20, apierr.RolePolicyLimit},
		{"role, custom", &onRoles, store.PolicyCustom, 5, apierr.RolePolicyLimit},
	} {
		other := store.PolicyCustom
		if tt.typ == other {
			other = store.PolicySystem
		}
		// One of the other type must not count, even under the same name.
		list := []store.Attachment{{Type: other, Name: "p0"}}
		for i := range tt.max {
			var err error
			if list, err = tt.b.attach(list, store.Attachment{Type: tt.typ, Name: "p" + string(rune('0'+i))}); err != nil {
				t.Fatalf("%s: policy %d: %v", tt.name, i, err)
			}
		}
		if _, err := tt.b.attach(list, store.Attachment{Type: tt.typ, Name: "more"}); !errors.Is(err, tt.full) {
			t.Errorf("%s: one too many: %v", tt.name, err)
		}
		if _, err := tt.b.attach(list, store.Attachment{Type: tt.typ, Name: "p0"}); !errors.Is(err, tt.b.already) {
			t.Errorf("%s: twice: %v", tt.name, err)
		}
		rest, err := tt.b.detach(list, tt.typ, "p0")
		if err != nil || attached(rest, tt.typ, "p0") >= 0 || attached(rest, other, "p0") != 0 {
			t.Errorf("%s: detach left %v, %v", tt.name, rest, err)
		}
		if _, err := tt.b.detach(rest, tt.typ, "p0"); !errors.Is(err, tt.b.missing) {
			t.Errorf("%s: detach twice: %v", tt.name, err)
		}
	}
}
