package rpc

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts requests by operation. Labels come from the table of
// operations and from HTTP statuses only, so a caller cannot make new ones.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics registers the pipeline's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sesame_requests_total", Help: "Requests answered, by product, operation and HTTP status.",
		}, []string{"product", "operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sesame_request_seconds", Help: "Time from the decoded request to the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"product", "operation"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

func (m *Metrics) observe(op *Info, status int, took time.Duration) {
	if m == nil {
		return
	}
	product, name := "unknown", "unknown"
	if op != nil {
		product, name = op.Product.ID, op.Name
	}
	m.requests.WithLabelValues(product, name, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(product, name).Observe(took.Seconds())
}
