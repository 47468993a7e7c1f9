package product

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
	"github.com/opensesame-kms/opensesame/internal/throttle"
)

// RateLimits are the changes of an account's limits, as a JSON object:
// {"secret-read":9000,"sts":0,"ram":null}. 0 is no limit, null is the server's.
type RateLimits map[string]*float64

// BindParam reads the object; a class that does not exist or is given twice is
// refused.
func (l *RateLimits) BindParam(text string) error {
	bad := func(format string, args ...any) error {
		return rpc.BadParam{Field: "Limits", Fault: rpc.Format, Why: fmt.Sprintf(format, args...)}
	}
	noObject := bad(`it is no JSON object such as {"secret-read":450,"sts":0,"ram":null}`)
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return noObject
	}
	*l = RateLimits{}
	for dec.More() {
		t, err := dec.Token()
		class, ok := t.(string)
		if err != nil || !ok {
			return noObject
		}
		if !slices.Contains(throttle.Classes(), throttle.Class(class)) {
			return bad("the rate classes are %s", classNames())
		}
		if _, twice := (*l)[class]; twice {
			return bad("a rate class is given twice")
		}
		var perSecond *float64
		if err := dec.Decode(&perSecond); err != nil {
			return noObject
		}
		if perSecond != nil {
			if err := throttle.CheckRate(*perSecond); err != nil {
				return bad("%s", err)
			}
		}
		(*l)[class] = perSecond
	}
	if _, err := dec.Token(); err != nil {
		return noObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return noObject
	}
	return nil
}

func classNames() string {
	var names []string
	for _, c := range throttle.Classes() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}

type setAccountLimitsInput struct {
	AccountID AccountID  `param:"AccountId,required"`
	Limits    RateLimits `param:"Limits,required"`
}

// accountLimit is what holds for an account in a rate class.
type accountLimit struct {
	Class string
	// PerSecond is requests per second; 0 for none.
	PerSecond string
	// Own says that the limit is the account's and not the server's.
	Own bool
}

type accountLimits struct{ Limit []accountLimit }

type accountLimitsOutput struct {
	AccountId string
	Limits    accountLimits
}

func (s *Service) describeAccountLimits() rpc.Op[accountInput, accountLimitsOutput] {
	return rpc.Op[accountInput, accountLimitsOutput]{
		Name: "DescribeAccountLimits", Class: throttle.Operator, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *accountInput) ([]access.Target, error) {
			return accountTarget(c, in.AccountID)
		},
		Func: func(_ context.Context, c *rpc.Call, in *accountInput) (*accountLimitsOutput, error) {
			a, err := store.Accounts.Get(c.View, store.AccountKey(string(in.AccountID)))
			if err != nil {
				return nil, err
			}
			return showLimits(c, a), nil
		},
	}
}

// setAccountLimits changes the limits that it names and leaves the others.
func (s *Service) setAccountLimits() rpc.Op[setAccountLimitsInput, accountLimitsOutput] {
	return rpc.Op[setAccountLimitsInput, accountLimitsOutput]{
		Name: "SetAccountLimits", Class: throttle.Operator, Writes: true, Callers: access.Operators,
		Targets: func(c *rpc.Call, in *setAccountLimitsInput) ([]access.Target, error) {
			return accountTarget(c, in.AccountID)
		},
		Func: s.doSetAccountLimits,
	}
}

func (s *Service) doSetAccountLimits(ctx context.Context, c *rpc.Call, in *setAccountLimitsInput) (*accountLimitsOutput, error) {
	return rpc.Update(ctx, c, func(tx *store.Tx) (*accountLimitsOutput, error) {
		a, err := readAccount(tx, in.AccountID)
		if err != nil {
			return nil, err
		}
		before := a.Limits
		a.Limits = maps.Clone(before)
		if a.Limits == nil {
			a.Limits = map[string]float64{}
		}
		for class, perSecond := range in.Limits {
			if perSecond == nil {
				delete(a.Limits, class)
			} else {
				a.Limits[class] = *perSecond
			}
		}
		if !maps.Equal(before, a.Limits) {
			store.Accounts.Put(tx, store.AccountKey(a.ID), a)
		}
		return showLimits(c, a), nil
	})
}

func showLimits(c *rpc.Call, a *store.Account) *accountLimitsOutput {
	out := &accountLimitsOutput{AccountId: a.ID}
	for _, class := range throttle.Classes() {
		_, own := a.Limits[string(class)]
		out.Limits.Limit = append(out.Limits.Limit, accountLimit{
			Class: string(class), PerSecond: strconv.FormatFloat(c.RateLimit(class, a.Limits), 'f', -1, 64), Own: own,
		})
	}
	return out
}
