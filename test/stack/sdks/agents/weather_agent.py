"""An agent that is asked about the weather: its model calls a tool, and then answers with what that has said."""

import json

from openai import OpenAI

NAME = "weather agent"
SESSION = "session-7"
USER = "user-42"
QUESTION = "Wie ist das Wetter in Zürich?"

_MODEL = "gpt-4o-mini"
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def get_weather(city):
    return json.dumps({"city": city, "degrees": 21.5, "sky": "sunny"})


def converse(call_tool):
    """The answer; `call_tool(call)` carries out a call that the model asks for. The second reply is streamed."""
    client = OpenAI()
    messages = [{"role": "user", "content": QUESTION}]
    reply = client.chat.completions.create(model=_MODEL, messages=messages, tools=_TOOLS).choices[0].message
    messages.append(reply.model_dump(exclude_none=True))
    for call in reply.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": call_tool(call)})
    chunks = client.chat.completions.create(
        model=_MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
