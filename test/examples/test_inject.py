"""A trace is in MLflow as it was sent.

The relay and its client certificate are named by OTEL_EXPORTER_OTLP_ENDPOINT and its like.
"""

import json
import os
import subprocess

import pytest


@pytest.fixture
def inject():
    """Sends a trace; gives the exit code, and what became of the trace."""
    config = os.environ.get("RELAY_CONFIG", "relay.yaml")

    def run(*options: str) -> tuple[int, dict]:
        command = ["mlflow-trace-relay", "inject", "--config", config, "--wait", "30s", "--json", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout)

    return run


def test_a_trace_is_stored_as_it_was_sent(inject):
    code, trace = inject("--attribute", "session.id=session-7")
    assert (code, trace["outcome"]) == (0, "stored"), trace


def test_what_mlflow_does_not_take_is_told(inject):
    code, trace = inject("--attribute", "session.id=" + "x" * 300)
    assert (code, trace["outcome"]) == (5, "differs"), trace
    assert "attribute session.id" in [each["what"] for each in trace["differences"]]
