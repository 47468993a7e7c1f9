package record

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Event is a record as readers of the trail see it: the event of ActionTrail,
// with what it has no field for in AdditionalEventData.
type Event struct {
	EventID             string              `json:"eventId"`
	EventVersion        string              `json:"eventVersion"`
	EventCategory       string              `json:"eventCategory"`
	EventType           string              `json:"eventType"`
	EventName           string              `json:"eventName"`
	EventRW             string              `json:"eventRW"`
	EventSource         string              `json:"eventSource"`
	EventTime           string              `json:"eventTime"` // UTC, whole seconds
	AcsRegion           string              `json:"acsRegion"`
	APIVersion          string              `json:"apiVersion,omitempty"`
	ServiceName         string              `json:"serviceName"`
	RequestID           string              `json:"requestId,omitempty"`
	SourceIPAddress     string              `json:"sourceIpAddress,omitempty"`
	UserAgent           string              `json:"userAgent,omitempty"`
	VpcID               string              `json:"vpcId,omitempty"`
	IsGlobal            bool                `json:"isGlobal"`
	RecipientAccountID  string              `json:"recipientAccountId,omitempty"`
	UserIdentity        *UserIdentity       `json:"userIdentity,omitempty"`
	RequestParameters   map[string]string   `json:"requestParameters,omitempty"`
	ResponseElements    map[string]any      `json:"responseElements"` // null on failure
	ReferencedResources map[string][]string `json:"referencedResources,omitempty"`
	ResourceType        string              `json:"resourceType,omitempty"`
	ResourceName        string              `json:"resourceName,omitempty"`
	AdditionalEventData map[string]any      `json:"additionalEventData"`
	ErrorCode           string              `json:"errorCode,omitempty"`
	ErrorMessage        string              `json:"errorMessage,omitempty"`
}

// UserIdentity is who asked.
type UserIdentity struct {
	Type           string          `json:"type"`
	PrincipalID    string          `json:"principalId,omitempty"`
	AccountID      string          `json:"accountId,omitempty"`
	UserName       string          `json:"userName,omitempty"`
	AccessKeyID    string          `json:"accessKeyId,omitempty"`
	InvokedBy      string          `json:"invokedBy,omitempty"`
	SessionContext *SessionContext `json:"sessionContext,omitempty"`
}

// SessionContext describes a role session.
type SessionContext struct {
	Attributes SessionAttributes `json:"attributes"`
}

// SessionAttributes are texts on the wire, the truth value too.
type SessionAttributes struct {
	MFAAuthenticated string `json:"mfaAuthenticated"`
	CreationDate     string `json:"creationDate"` // UTC, whole seconds
}

// Event renders r for the account recipient; empty stands for the operator of
// the server, who belongs to no account. Whether the recipient may see r at
// all is [Record.VisibleTo]; of counted refusals it gets only its own.
func (r *Record) Event(recipient string) *Event {
	e := &Event{
		EventID: r.ID(), EventVersion: "1", EventCategory: "Management", EventType: "ApiCall",
		EventName: r.Operation, EventRW: r.RW, EventSource: r.Host, EventTime: stamp(r.Time),
		AcsRegion: r.Region, APIVersion: r.APIVersion, ServiceName: r.Product, RequestID: r.RequestID,
		SourceIPAddress: r.Source, UserAgent: r.UserAgent, IsGlobal: r.Global,
		RecipientAccountID: recipient, UserIdentity: r.Identity.event(),
		AdditionalEventData: r.additional(recipient),
		ErrorCode:           r.ErrorCode, ErrorMessage: r.ErrorMessage,
	}
	if strings.HasPrefix(r.Network, "vpc-") {
		e.VpcID = r.Network
	}
	if r.Kind != KindCall {
		e.EventType = "AliyunServiceEvent"
	} else {
		e.RequestParameters = r.parameters()
		e.ResponseElements = r.response()
	}
	e.ReferencedResources, e.ResourceType, e.ResourceName = r.referenced()
	return e
}

// stamp writes a time as events do; nothing for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// event returns nil when nobody is known, as for counted refusals.
func (id Identity) event() *UserIdentity {
	if id.Type == "" {
		return nil
	}
	u := &UserIdentity{
		Type: id.Type, PrincipalID: id.PrincipalID, AccountID: id.AccountID,
		UserName: id.UserName, AccessKeyID: id.AccessKeyID, InvokedBy: id.InvokedBy,
	}
	if id.Type == TypeRoot && u.UserName == "" {
		u.UserName = "root"
	}
	if id.Type == TypeAssumedRole {
		mfa := "false"
		if id.MFA {
			mfa = "true"
		}
		u.SessionContext = &SessionContext{SessionAttributes{mfa, stamp(id.SessionCreated)}}
	}
	return u
}

// parameters are the caller's and, over them, those the platform's gateway
// adds: a caller cannot forge the latter by sending parameters of their names.
func (r *Record) parameters() map[string]string {
	p := make(map[string]string, len(r.Params)+8)
	maps.Copy(p, r.Params)
	p["RequestId"] = r.RequestID
	p["HostId"] = r.Host
	p["AcsHost"] = r.Host
	p["AcsProduct"] = r.Product
	p["ServiceCode"] = strings.ToLower(r.Product)
	p["Region"] = r.Region
	delete(p, "stsTokenPrincipalName")
	delete(p, "stsTokenPlayerUid")
	if r.Identity.Type == TypeAssumedRole {
		p["stsTokenPrincipalName"] = strings.Replace(r.Identity.UserName, ":", "/", 1)
		p["stsTokenPlayerUid"], _, _ = strings.Cut(r.Identity.PrincipalID, ":")
	}
	return p
}

// response is null on failure; otherwise it has at least the request id.
func (r *Record) response() map[string]any {
	if r.ErrorCode != "" {
		return nil
	}
	m := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(r.Response))
	d.UseNumber() // a number keeps its digits
	if err := d.Decode(&m); err != nil || m == nil {
		m = map[string]any{}
	}
	m["RequestId"] = r.RequestID
	return m
}

// referenced groups the resources by type, in the order of first mention.
func (r *Record) referenced() (byType map[string][]string, types, names string) {
	if len(r.Resources) == 0 {
		return nil, "", ""
	}
	byType = make(map[string][]string, 1)
	var order, all []string
	for _, res := range r.Resources {
		if _, ok := byType[res.Type]; !ok {
			order = append(order, res.Type)
		}
		if !slices.Contains(byType[res.Type], res.Name) {
			byType[res.Type] = append(byType[res.Type], res.Name)
		}
	}
	for _, t := range order {
		all = append(all, byType[t]...)
	}
	return byType, strings.Join(order, ";"), strings.Join(all, ";")
}

// additional holds what ActionTrail's event has no field for.
func (r *Record) additional(recipient string) map[string]any {
	m := map[string]any{}
	if r.Kind == KindCall {
		m["Scheme"] = "http"
		if r.TLS {
			m["Scheme"] = "https"
		}
	}
	for _, f := range []struct{ name, value string }{
		{"VersionId", r.VersionID}, {"SecretId", r.SecretID}, {"KeyId", r.KeyID}, {"KeyVersionId", r.KeyVersionID},
		{"HostingMode", r.HostingMode}, {"OwningProduct", r.OwningProduct}, {"Gateway", r.Gateway},
		{"Network", r.Network}, {"Decision", r.Decision}, {"Node", r.Node},
		{"Concerns", r.Concerns}, {"Note", r.Note},
	} {
		if f.value != "" {
			m[f.name] = f.value
		}
	}
	for _, f := range []struct {
		name  string
		value []string
	}{{"VersionStages", r.Stages}, {"Reasons", r.Reasons}, {"MatchedPolicies", r.MatchedPolicies}} {
		if len(f.value) > 0 {
			m[f.name] = f.value
		}
	}
	if r.HTTPStatus != 0 {
		m["HttpStatus"] = r.HTTPStatus
	}
	if r.Sequence != 0 {
		m["Sequence"] = r.Sequence
	}
	if r.Revision != 0 {
		m["Revision"] = r.Revision
	}
	if r.Truncated {
		m["Truncated"] = true
	}
	if c := r.countsFor(recipient); len(c) > 0 {
		m["Refusals"] = c
	}
	return m
}

// countsFor returns the refusals that concern the account; all for the operator.
func (r *Record) countsFor(recipient string) []map[string]any {
	var out []map[string]any
	for _, c := range r.Counts {
		if recipient == "" || c.Account == recipient {
			out = append(out, map[string]any{"Source": c.Source, "Account": c.Account, "Code": c.Code, "Count": c.Count})
		}
	}
	return out
}
