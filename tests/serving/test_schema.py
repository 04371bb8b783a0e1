"""The description of the API is true: schemathesis makes requests from it, right and wrong ones."""

import subprocess
import sys

import pytest

from tests.serving.conftest import Server

pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_no_request_is_a_mistake_of_the_server(server: Server, count: int) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/v1/openapi.json", "--no-color"),
        *("--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"),
        *("--max-examples", str(count), "--exclude-path-regex", "events$", "--request-timeout", "60", "--seed", "1"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
