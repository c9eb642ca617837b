import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanBuilder;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.trace.ReadableSpan;
import io.opentelemetry.sdk.trace.data.SpanData;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Sends one trace with all that the SDK can put into spans, and prints each span as a line of JSON. Where to, and with
 * which certificates, say OpenTelemetry's own variables alone.
 */
public final class SendTrace {
  private static final Attributes ATTRIBUTES =
      Attributes.builder()
          .put("text", "Grüße, 世界 \uD83C\uDF0D")
          .put("text.empty", "")
          .put("text.long", "0123456789".repeat(2_000))
          .put("bool.true", true)
          .put("bool.false", false)
          .put("int.zero", 0L)
          .put("int.negative", -1L)
          .put("int.beyond.double", (1L << 53) + 1)
          .put("int.largest", Long.MAX_VALUE)
          .put("int.smallest", Long.MIN_VALUE)
          .put("double", 0.1)
          .put("double.whole", 3.0)
          .put("double.huge", Double.MAX_VALUE)
          .put("double.tiny", Double.MIN_VALUE)
          .put("array.text", "a", "", "ü")
          .put("array.bool", true, false)
          .put("array.int", 1L, (1L << 53) + 1, Long.MIN_VALUE)
          .put("array.double", 0.5, -2.25)
          .put(AttributeKey.stringArrayKey("array.empty"), List.of())
          .put(AttributeKey.valueKey("array.mixed"), Value.of(Value.of("one"), Value.of(2L), Value.of(true)))
          .put(
              AttributeKey.valueKey("map"),
              Value.of(KeyValue.of("nested", Value.of(KeyValue.of("double", Value.of(3.5))))))
          .build();

  private final Tracer tracer;
  private final List<Span> spans = new ArrayList<>();

  private SendTrace(Tracer tracer) {
    this.tracer = tracer;
  }

  public static void main(String[] args) {
    OpenTelemetrySdk sdk = AutoConfiguredOpenTelemetrySdk.initialize().getOpenTelemetrySdk();
    SendTrace sender = new SendTrace(sdk.getTracer("send-trace", "1.2.3"));
    sender.build();
    sdk.close();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (Span span : sender.spans) {
      out.println(json(describe(((ReadableSpan) span).toSpanData())));
    }
  }

  /** Nanoseconds behind the second that all spans begin in. */
  private static Instant at(long nanoseconds) {
    return Instant.ofEpochSecond(1_700_000_000, nanoseconds);
  }

  private Span start(SpanBuilder builder, long nanoseconds) {
    Span span = builder.setStartTimestamp(at(nanoseconds)).startSpan();
    spans.add(span);
    return span;
  }

  private void build() {
    SpanContext elsewhere =
        SpanContext.createFromRemoteParent(
            "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", TraceFlags.getSampled(), TraceState.getDefault());

    Span root =
        start(
            tracer
                .spanBuilder("root")
                .setNoParent()
                .setSpanKind(SpanKind.SERVER)
                .setAttribute("http.route", "/ask/{id}"),
            0);
    Context parent = Context.root().with(root);
    Span model =
        start(
            tracer
                .spanBuilder("chat model")
                .setParent(parent)
                .setSpanKind(SpanKind.CLIENT)
                .setAllAttributes(ATTRIBUTES),
            1_001);
    Attributes event = Attributes.builder().put("index", 0L).put("text", "Hé").put("scores", 0.25, 0.75).build();
    model.addEvent("first token", event, at(1_777));
    model.addEvent("without attributes", at(1_778));
    model.setStatus(StatusCode.OK);
    model.end(at(500_000_003));
    Span tool =
        start(
            tracer
                .spanBuilder("tool")
                .setParent(parent)
                .addLink(elsewhere, Attributes.builder().put("link.reason", "retry").put("link.count", 3L).build())
                .addLink(model.getSpanContext()),
            500_000_100);
    tool.recordException(new IllegalStateException("no such table: weather"));
    tool.setStatus(StatusCode.ERROR, "query failed");
    tool.end(at(500_000_500));
    root.end(at(999_999_999));
  }

  private static Map<String, Object> describe(SpanData span) {
    Map<String, Object> described = new LinkedHashMap<>();
    described.put("traceId", span.getTraceId());
    described.put("spanId", span.getSpanId());
    described.put("parentSpanId", span.getParentSpanContext().isValid() ? span.getParentSpanId() : "");
    described.put("name", span.getName());
    described.put("kind", "SPAN_KIND_" + span.getKind());
    described.put("start", Long.toString(span.getStartEpochNanos()));
    described.put("end", Long.toString(span.getEndEpochNanos()));
    described.put("attributes", span.getAttributes());
    described.put(
        "events",
        span.getEvents().stream()
            .map(
                event ->
                    Map.of(
                        "name", event.getName(),
                        "time", Long.toString(event.getEpochNanos()),
                        "attributes", event.getAttributes()))
            .toList());
    described.put(
        "links",
        span.getLinks().stream()
            .map(
                link ->
                    Map.of(
                        "traceId", link.getSpanContext().getTraceId(),
                        "spanId", link.getSpanContext().getSpanId(),
                        "attributes", link.getAttributes()))
            .toList());
    described.put(
        "status",
        Map.of(
            "code", "STATUS_CODE_" + span.getStatus().getStatusCode(), "message", span.getStatus().getDescription()));
    return described;
  }

  /** Of what attributes and `describe` consist of. */
  private static String json(Object value) {
    if (value instanceof Value<?> wrapped) {
      return json(wrapped.getValue());
    }
    if (value instanceof Attributes attributes) {
      Map<String, Object> values = new LinkedHashMap<>();
      attributes.forEach((key, inner) -> values.put(key.getKey(), inner));
      return json(values);
    }
    if (value instanceof Map<?, ?> map) {
      List<String> members = new ArrayList<>();
      map.forEach((key, inner) -> members.add(json(key) + ":" + json(inner)));
      return "{" + String.join(",", members) + "}";
    }
    if (value instanceof List<?> list) {
      if (!list.isEmpty() && list.get(0) instanceof KeyValue) {
        Map<String, Object> values = new LinkedHashMap<>();
        list.forEach(pair -> values.put(((KeyValue) pair).getKey(), ((KeyValue) pair).getValue()));
        return json(values);
      }
      return "[" + String.join(",", list.stream().map(SendTrace::json).toList()) + "]";
    }
    return value instanceof String text ? quote(text) : String.valueOf(value);
  }

  private static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char unit : text.toCharArray()) {
      boolean plain = unit >= ' ' && unit != '"' && unit != '\\';
      quoted.append(plain ? unit : String.format("\\u%04x", (int) unit));
    }
    return quoted.append('"').toString();
  }
}
