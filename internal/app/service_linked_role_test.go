package app_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opensesame-kms/opensesame/sesametest"
)

type deletion struct {
	Status string
	Reason *struct {
		Message    string
		RoleUsages struct {
			RoleUsage []struct {
				Region    string
				Resources struct{ Resource []string }
			}
		}
	}
}

// deleteRole asks for the role's deletion as c and returns the outcome.
func (d *door) deleteRole(t testing.TB, c cred, role string) (id string, out deletion) {
	t.Helper()
	id = d.api(t, c, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": role}).ok(t).text("DeletionTaskId")
	d.api(t, c, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", p{"DeletionTaskId": id}).ok(t, &out)
	return id, out
}

// TestServiceLinkedRoleDeletion: only when nothing of the service is left, by
// the account or by the service itself.
func TestServiceLinkedRoleDeletion(t *testing.T) {
	d := start(t, sesametest.Options{})
	pl, other := d.platform(t, "slrdel"), d.platform(t, "slrother")
	acct := d.NewAccount(t)
	managing, foreign := pl.manage(t, acct), other.manage(t, acct)
	role := "AliyunServiceRoleForSlrdelExampleCom"
	for i := range 12 {
		d.create(t, managing, fmt.Sprintf("slrdel!%02d", i), "x")
	}
	d.create(t, foreign, "slrother!a", "x")
	d.create(t, acct.Root, "slrdel", "x")
	d.call(t, managing, "DeleteSecret", p{"SecretName": "slrdel!00"}).ok(t) // pending counts

	id, out := d.deleteRole(t, acct.Root, strings.ToLower(role))
	if !strings.HasPrefix(id, "task/acs-service-role/"+pl.service+"/"+role+"/") || out.Status != "FAILED" || out.Reason == nil {
		t.Fatalf("task %s, %+v", id, out)
	}
	if m := out.Reason.Message; !strings.HasPrefix(m, "Service-Linked Role acs:ram::"+acct.ID+":role/"+strings.ToLower(role)+" cannot be deleted as it is in use by "+pl.service+".") || !strings.HasSuffix(m, ": 12.") {
		t.Errorf("message %q", m)
	}
	usage := out.Reason.RoleUsages.RoleUsage
	if len(usage) != 1 || usage[0].Region != d.Region || len(usage[0].Resources.Resource) != 10 ||
		usage[0].Resources.Resource[0] != "acs:kms:"+d.Region+":"+acct.ID+":secret/slrdel!00" {
		t.Errorf("usages %+v", usage)
	}
	d.identity(t, managing).ok(t)

	// Who may not.
	user := acct.NewUser(t, "user", allow("*", "kms:*"))
	status := p{"DeletionTaskId": id}
	for who, c := range map[string]cred{"user": user, "another service": foreign} {
		if got := d.api(t, c, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": role}); got.status != 403 {
			t.Errorf("%s: HTTP %d %v", who, got.status, got.fields["Code"])
		}
		d.api(t, c, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", status).refused(t, 403, "NoPermission")
	}
	stranger := d.NewAccount(t)
	d.api(t, stranger.Root, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", status).refused(t, 404, "EntityNotExist.ServiceLinkedRole.DeletionTask")
	d.api(t, stranger.Root, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": role}).refused(t, 404, "EntityNotExist.Role")
	d.api(t, pl.key, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": role}).refused(t, 403, "NoPermission")
	// A forged id does not borrow another service's condition.
	forged := strings.Replace(id, pl.service, other.service, 1)
	d.api(t, acct.Root, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", p{"DeletionTaskId": forged}).refused(t, 404, "EntityNotExist.ServiceLinkedRole.DeletionTask")
	d.api(t, foreign, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", p{"DeletionTaskId": forged}).refused(t, 404, "EntityNotExist.ServiceLinkedRole.DeletionTask")
	d.api(t, acct.Root, "ram", "DeleteRole", p{"RoleName": role}).refused(t, 403, "NoPermission.ServiceLinkedRole")

	// Nothing is left: the service itself lets go.
	for i := range 12 {
		d.call(t, managing, "DeleteSecret", p{"SecretName": fmt.Sprintf("slrdel!%02d", i), "ForceDeleteWithoutRecovery": "true"}).ok(t)
	}
	id = d.api(t, managing, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": role}).ok(t).text("DeletionTaskId")
	d.identity(t, managing).refused(t, 400, "InvalidSecurityToken.Expired")
	got := d.api(t, acct.Root, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", p{"DeletionTaskId": id}).ok(t)
	if got.text("Status") != "SUCCEEDED" || got.fields["Reason"] != nil {
		t.Errorf("status %v", got.fields)
	}
	d.identity(t, foreign).ok(t)
	d.api(t, acct.Root, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": role}).refused(t, 404, "EntityNotExist.Role")
	pl.manage(t, acct) // it can be made again
	if _, out := d.deleteRole(t, d.adminSession(t, acct), role); out.Status != "SUCCEEDED" {
		t.Errorf("by an administrator: %+v", out)
	}

	acct.NewRole(t, "ordinary", "", "")
	d.api(t, acct.Root, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": "ordinary"}).refused(t, 404, "EntityNotExist.ServiceLinkedRole")
	for bad, code := range map[string]string{
		"short": "InvalidParameter.DeletionTaskId.Length", strings.Repeat("x", 256): "InvalidParameter.DeletionTaskId.Length",
		"task/acs-service-role/one/two": "InvalidParameter.DeletionTaskId", "task/acs-service-role//role/12345678": "InvalidParameter.DeletionTaskId",
		"": "MissingParameter",
	} {
		d.api(t, acct.Root, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", p{"DeletionTaskId": bad}).refused(t, 400, code)
	}
}

// TestServiceLinkedRoleDeletionRace: a secret that is being made and the role's
// deletion do not both succeed.
func TestServiceLinkedRoleDeletionRace(t *testing.T) {
	d := start(t, sesametest.Options{})
	pl := d.platform(t, "slrrace")
	for range 10 {
		acct := d.NewAccount(t)
		managing := pl.manage(t, acct)
		var made, deleted answer
		var wg sync.WaitGroup
		wg.Go(func() {
			made = d.call(t, managing, "CreateSecret", p{"SecretName": "slrrace!a", "VersionId": "v1", "SecretData": "x"})
		})
		wg.Go(func() {
			deleted = d.api(t, acct.Root, "resourcemanager", "DeleteServiceLinkedRole", p{"RoleName": "AliyunServiceRoleForSlrraceExampleCom"})
		})
		wg.Wait()
		var out deletion
		d.api(t, acct.Root, "resourcemanager", "GetServiceLinkedRoleDeletionStatus", p{"DeletionTaskId": deleted.ok(t).text("DeletionTaskId")}).ok(t, &out)
		if (made.status == 200) != (out.Status == "FAILED") {
			t.Errorf("the secret: HTTP %d %v; the deletion: %s", made.status, made.fields["Code"], out.Status)
		}
	}
}
