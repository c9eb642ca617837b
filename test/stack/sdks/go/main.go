// Sends one trace with all that the SDK can put into spans, and prints each span as a line of JSON. Where to, and
// with which certificates, say OpenTelemetry's own variables alone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var attributes = []attribute.KeyValue{
	attribute.String("text", "Grüße, 世界 \U0001f30d"),
	attribute.String("text.empty", ""),
	attribute.String("text.long", strings.Repeat("0123456789", 2_000)),
	attribute.Bool("bool.true", true),
	attribute.Bool("bool.false", false),
	attribute.Int64("int.zero", 0),
	attribute.Int64("int.negative", -1),
	attribute.Int64("int.beyond.double", 1<<53+1),
	attribute.Int64("int.largest", math.MaxInt64),
	attribute.Int64("int.smallest", math.MinInt64),
	attribute.Float64("double", 0.1),
	attribute.Float64("double.whole", 3),
	attribute.Float64("double.huge", math.MaxFloat64),
	attribute.Float64("double.tiny", math.SmallestNonzeroFloat64),
	attribute.StringSlice("array.text", []string{"a", "", "ü"}),
	attribute.BoolSlice("array.bool", []bool{true, false}),
	attribute.Int64Slice("array.int", []int64{1, 1<<53 + 1, math.MinInt64}),
	attribute.Float64Slice("array.double", []float64{0.5, -2.25}),
	attribute.StringSlice("array.empty", []string{}),
	attribute.Slice("array.mixed", attribute.StringValue("one"), attribute.Int64Value(2), attribute.BoolValue(true)),
	attribute.Map("map", attribute.Map("nested", attribute.Float64("double", 3.5), attribute.Bool("flag", false))),
}

var tracer trace.Tracer
var spans []trace.Span

// Nanoseconds behind the second that all spans begin in.
func at(nanoseconds int64) trace.SpanEventOption {
	return trace.WithTimestamp(time.Unix(1_700_000_000, nanoseconds))
}

func start(parent context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	ctx, span := tracer.Start(parent, name, options...)
	spans = append(spans, span)
	return ctx, span
}

func build() {
	elsewhere := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    trace.TraceID{0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c},
		SpanID:     trace.SpanID{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31},
		TraceFlags: trace.FlagsSampled,
		Remote:     true,
	})

	ctx, root := start(context.Background(), "root", at(0), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.route", "/ask/{id}")))
	_, model := start(ctx, "chat model", at(1_001), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attributes...))
	model.AddEvent("first token", at(1_777), trace.WithAttributes(attribute.Int("index", 0),
		attribute.String("text", "Hé"), attribute.Float64Slice("scores", []float64{0.25, 0.75})))
	model.AddEvent("without attributes", at(1_778))
	model.SetStatus(codes.Ok, "")
	model.End(at(500_000_003))
	_, tool := start(ctx, "tool", at(500_000_100), trace.WithLinks(
		trace.Link{SpanContext: elsewhere, Attributes: []attribute.KeyValue{
			attribute.String("link.reason", "retry"), attribute.Int("link.count", 3)}},
		trace.Link{SpanContext: model.SpanContext()},
	))
	tool.RecordError(errors.New("no such table: weather"), at(500_000_300), trace.WithStackTrace(true))
	tool.SetStatus(codes.Error, "query failed")
	tool.End(at(500_000_500))
	root.End(at(999_999_999))
}

type object = map[string]any

func describe(span sdk.ReadOnlySpan) object {
	parent := ""
	if span.Parent().IsValid() {
		parent = span.Parent().SpanID().String()
	}
	events := []object{}
	for _, event := range span.Events() {
		events = append(events, object{
			"name": event.Name, "time": nanoseconds(event.Time), "attributes": plain(event.Attributes)})
	}
	links := []object{}
	for _, link := range span.Links() {
		links = append(links, object{
			"traceId":    link.SpanContext.TraceID().String(),
			"spanId":     link.SpanContext.SpanID().String(),
			"attributes": plain(link.Attributes)})
	}
	return object{
		"traceId":      span.SpanContext().TraceID().String(),
		"spanId":       span.SpanContext().SpanID().String(),
		"parentSpanId": parent,
		"name":         span.Name(),
		"kind":         "SPAN_KIND_" + strings.ToUpper(span.SpanKind().String()),
		"start":        nanoseconds(span.StartTime()),
		"end":          nanoseconds(span.EndTime()),
		"attributes":   plain(span.Attributes()),
		"events":       events,
		"links":        links,
		"status": object{
			"code":    "STATUS_CODE_" + strings.ToUpper(span.Status().Code.String()),
			"message": span.Status().Description},
	}
}

func nanoseconds(instant time.Time) string {
	return strconv.FormatInt(instant.UnixNano(), 10)
}

func plain(pairs []attribute.KeyValue) object {
	values := object{}
	for _, pair := range pairs {
		values[string(pair.Key)] = plainValue(pair.Value)
	}
	return values
}

func plainValue(value attribute.Value) any {
	switch value.Type() {
	case attribute.MAP:
		return plain(value.AsMap())
	case attribute.SLICE:
		values := []any{}
		for _, inner := range value.AsSlice() {
			values = append(values, plainValue(inner))
		}
		return values
	default:
		return value.AsInterface()
	}
}

func main() {
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		log.Fatal(err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter))
	tracer = provider.Tracer("send-trace", trace.WithInstrumentationVersion("1.2.3"))
	build()
	if err := provider.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	lines := json.NewEncoder(os.Stdout)
	for _, span := range spans {
		if err := lines.Encode(describe(span.(sdk.ReadOnlySpan))); err != nil {
			log.Fatal(err)
		}
	}
}
