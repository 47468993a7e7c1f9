package product

import (
	"errors"

	"github.com/opensesame-kms/opensesame/internal/apierr"
	"github.com/opensesame-kms/opensesame/internal/rpc"
	"github.com/opensesame-kms/opensesame/internal/store"
)

// productInput names the one product that an operation is about.
type productInput struct {
	Product ID `param:"Product,required"`
}

type productItem struct {
	Product      string
	DisplayName  string
	ProductCodes []string
	HostingModes []string
	Quota        int
	ServiceName  string
	RoleName     string
	Status       string
	CreateDate   string
	RetireDate   string `wire:"omitempty"`
}

type productOutput struct{ Product productItem }

// What Status of a product can say.
const (
	statusActive  = "Active"
	statusRetired = "Retired"
)

func showProduct(v *store.View, p *store.Product) (productItem, error) {
	svc, err := store.Services.Get(v, p.Service)
	if err != nil {
		return productItem{}, err
	}
	out := productItem{
		Product: p.ID, DisplayName: p.DisplayName, ProductCodes: p.Codes, Quota: p.Quota,
		ServiceName: p.Service, RoleName: svc.RoleName, Status: statusActive, CreateDate: rpc.TimeText(p.CreatedAt),
		RetireDate: rpc.TimeText(p.RetiredAt),
	}
	if p.Retired() {
		out.Status = statusRetired
	}
	for _, m := range p.Modes {
		out.HostingModes = append(out.HostingModes, string(m))
	}
	return out, nil
}

// readProduct returns the product in the transaction, to be changed.
func readProduct(tx *store.Tx, id ID) (*store.Product, error) {
	p, err := store.Products.Read(tx, string(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, apierr.ProductNotFound
	}
	return p, err
}
