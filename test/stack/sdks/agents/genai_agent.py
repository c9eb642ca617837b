"""The agent in spans of OpenTelemetry's GenAI conventions. Where they are sent to say OpenTelemetry's own variables."""

import json

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.util.genai.handler import TelemetryHandler

import weather_agent
from printed_spans import printed_spans

OpenAIInstrumentor().instrument()
handler = TelemetryHandler(instrumentation_scope_name="genai_agent")


def call_tool(call):
    with handler.tool(call.function.name, tool_type="function") as invocation:
        invocation.tool_call_id = call.id
        invocation.arguments = call.function.arguments
        invocation.tool_result = weather_agent.get_weather(**json.loads(call.function.arguments))
        return invocation.tool_result


with printed_spans():
    # The conversation goes on to the spans within; the user stands on the agent's span alone.
    with handler.invoke_local_agent(
        agent_name=weather_agent.NAME, conversation_id=weather_agent.SESSION
    ) as invocation:
        invocation.attributes["user.id"] = weather_agent.USER
        weather_agent.converse(call_tool)
