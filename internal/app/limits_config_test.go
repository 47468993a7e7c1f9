package app

import (
	"slices"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/config"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// TestClassesInConfig: the config has a key for each rate class, and no other.
func TestClassesInConfig(t *testing.T) {
	var keys []throttle.Class
	config.SharedLimits{}.Each(func(class string, _ config.Rate) { keys = append(keys, throttle.Class(class)) })
	if !slices.Equal(keys, throttle.Classes()) {
		t.Errorf("the config has %v, the classes are %v", keys, throttle.Classes())
	}
}

// TestLimiter: what is not set is as documented, or none where the config says
// so; 0 is no limit.
func TestLimiter(t *testing.T) {
	for _, tt := range []struct {
		name       string
		limits     config.Limits
		read, list float64
	}{
		{"defaults", config.Limits{}, 450, 40},
		{"none", config.Limits{None: true}, 0, 0},
		{"set", config.Limits{Shared: config.SharedLimits{SecretRead: config.NewRate(7), SecretList: config.NewRate(0)}}, 7, 0},
		{"set where none are", config.Limits{None: true, Shared: config.SharedLimits{SecretRead: config.NewRate(7)}}, 7, 0},
	} {
		a := &App{cfg: config.Config{Limits: tt.limits}}
		l := a.limiter()
		if got := l.Limit(throttle.SecretRead, nil); got != tt.read {
			t.Errorf("%s: reads %v, want %v", tt.name, got, tt.read)
		}
		if got := l.Limit(throttle.SecretList, nil); got != tt.list {
			t.Errorf("%s: lists %v, want %v", tt.name, got, tt.list)
		}
	}
}
