package mask_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/opensesame-kms/opensesame/internal/mask"
)

const value = "correct-horse-battery"

// TestNothingPrintsTheValue drives every formatting path a developer could
// take by accident.
func TestNothingPrintsTheValue(t *testing.T) {
	type wrapper struct {
		T  mask.Text
		B  mask.Bytes
		PT *mask.Text
		m  mask.Text
		b  mask.Bytes
	}
	text, raw := mask.NewText(value), mask.NewBytes([]byte(value))
	w := wrapper{text, raw, &text, text, raw}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%e", "%T %v"} {
		args := []any{text, raw, &text, w, &w, struct{ b mask.Bytes }{raw}, struct{ t mask.Text }{text}, []mask.Text{text}, map[string]mask.Bytes{"k": raw}}
		for _, a := range args {
			if verb == "%T %v" {
				fmt.Fprintf(&out, verb, a, a)
				continue
			}
			fmt.Fprintf(&out, verb, a)
		}
	}
	for _, a := range []any{text, raw, w, map[string]mask.Text{"k": text}} {
		j, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "text", text, "bytes", raw, "struct", w, "err", errors.New(text.String()))
	}
	for _, leak := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), strings.Trim(fmt.Sprint([]byte(value)), "[]")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the output contains the value as %q", leak)
		}
	}
}

func TestReveal(t *testing.T) {
	if got := mask.NewText(value).Reveal(); got != value {
		t.Errorf("Text.Reveal gave %d bytes that differ", len(got))
	}
	b := mask.NewBytes([]byte(value))
	if string(b.Reveal()) != value || b.Len() != len(value) {
		t.Error("Bytes.Reveal differs")
	}
	if !mask.NewText(value).Equal(mask.NewText(value)) || mask.NewText(value).Equal(mask.NewText(value+"x")) {
		t.Error("Equal is wrong")
	}
	b.Wipe()
	if string(b.Reveal()) == value {
		t.Error("Wipe left the value")
	}
}
