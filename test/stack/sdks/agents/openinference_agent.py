"""The agent in spans of OpenInference. Where they are sent to say OpenTelemetry's own variables."""

import json

from openinference.instrumentation import OITracer, TraceConfig, using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace

import weather_agent
from printed_spans import printed_spans

OpenAIInstrumentor().instrument()
tracer = OITracer(trace.get_tracer("openinference_agent"), TraceConfig())
get_weather = tracer.tool(weather_agent.get_weather)


@tracer.agent(name=weather_agent.NAME)
def ask(question):
    return weather_agent.converse(lambda call: get_weather(**json.loads(call.function.arguments)))


with printed_spans(), using_attributes(session_id=weather_agent.SESSION, user_id=weather_agent.USER):
    ask(weather_agent.QUESTION)
