"""A trace is in MLflow as it was sent. For pytest, and for `python -m unittest test_inject`.

The relay and its client certificate are named by OTEL_EXPORTER_OTLP_ENDPOINT and its like.
"""

import json
import os
import shlex
import subprocess
import unittest

COMMAND = shlex.split(os.environ.get("MLFLOW_TRACE_RELAY", "mlflow-trace-relay"))
CONFIG = os.environ.get("RELAY_CONFIG", "relay.yaml")


def inject(*options: str) -> tuple[int, dict]:
    command = [*COMMAND, "inject", "--config", CONFIG, "--wait", "30s", "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


class InjectedTrace(unittest.TestCase):
    def test_is_stored_as_it_was_sent(self) -> None:
        code, trace = inject("--attribute", "session.id=session-7")
        self.assertEqual((code, trace["outcome"]), (0, "stored"), trace)

    def test_tells_what_mlflow_does_not_take(self) -> None:
        code, trace = inject("--attribute", "session.id=" + "x" * 300)
        self.assertEqual((code, trace["outcome"]), (5, "differs"), trace)
        self.assertIn("attribute session.id", [each["what"] for each in trace["differences"]])
