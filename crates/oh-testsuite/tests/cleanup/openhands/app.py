"""Stands for the server of OpenHands 0.62: starts what LocalRuntime starts, as it starts it."""

import os
import subprocess
import sys

workspace, ports = sys.argv[1], sys.argv[2:]
here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
environment = dict(os.environ)
environment.update(
    PYTHONPATH=here, OPENHANDS_REPO_PATH=here, LOCAL_RUNTIME_MODE="1", VSCODE_PORT=ports[2]
)
server = [sys.executable, "-u", "-m", "openhands.runtime.action_execution_server", ports[0]]
server += ["--working-dir", workspace, "--plugins", "agent_skills", "jupyter", "vscode"]
server += ["--username", "root", "--user-id", "0", "--no-enable-browser"]
environment["STAND_IN_GATEWAY_PORT"] = ports[1]
subprocess.Popen(server, env=environment, cwd=here).wait()
