package ram

import (
	"github.com/opensesame-kms/opensesame/internal/access"
	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// User is a RAM user in answers.
type User struct {
	UserId      string
	UserName    string
	DisplayName string
	MobilePhone string
	Email       string
	Comments    string
	CreateDate  string
	UpdateDate  string `wire:"omitempty"` // not in the answer that makes the user
	// LastLoginDate is in GetUser's answer only, and empty there: users of this
	// server sign with access keys and never log in.
	LastLoginDate *string `wire:"omitempty"`
}

func showUser(u *store.User) User {
	return User{
		UserId: u.ID, UserName: u.Name, DisplayName: u.DisplayName, MobilePhone: u.MobilePhone,
		Email: u.Email, Comments: u.Comments, CreateDate: rpc.TimeText(u.CreatedAt),
	}
}

// anyUser is the target of operations that act on no user in particular.
func anyUser(c *rpc.Call) access.Target { return ownTarget(c, "user/*") }

// userTarget is the user of that name in the caller's account. It also returns
// what is attached to it.
func userTarget(c *rpc.Call, name string) (access.Target, []store.Attachment, error) {
	c.Resource(typeUser, name)
	t := ownTarget(c, "user/"+name)
	u, err := store.Users.Get(c.View, store.UserKey(c.Account(), name))
	if err != nil {
		err = t.Absent(err, apierr.UserNotFound)
		return t, nil, err
	}
	return t, u.Policies, nil
}
