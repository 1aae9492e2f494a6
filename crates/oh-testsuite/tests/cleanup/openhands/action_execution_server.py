"""Stands for the server of a conversation: terminals, kernels and an editor, and it asks the kernels."""

import os
import signal
import socket
import subprocess
import sys
import time

port, workspace = int(sys.argv[1]), sys.argv[3]
if port == 0:
    signal.pause()
here, gateway = os.environ["OPENHANDS_REPO_PATH"], os.environ["STAND_IN_GATEWAY_PORT"]
if os.environ.get("STAND_IN_TERMINALS") == "1":
    session = ["tmux", "new-session", "-P", "-F#{session_id}", "-sopenhands-root-" + str(os.getpid())]
    subprocess.run(session + ["-d", "-c", workspace, "-x", "1000", "-y", "1000"], check=True)
kernels = f"""/bin/bash << 'EOF'
cd {here}
"{sys.executable}" -m jupyter kernelgateway --KernelGatewayApp.ip=0.0.0.0 --KernelGatewayApp.port={gateway}
EOF"""
editor = f"""/bin/bash << 'EOF'
cd {here}
exec {here}/openhands/.openvscode-server/bin/openvscode-server --host 0.0.0.0 --connection-token T --port {os.environ["VSCODE_PORT"]} --disable-workspace-trust
EOF"""
os.environ["STAND_IN_WORKSPACE"] = workspace
for text in kernels, editor:
    subprocess.Popen(["/bin/sh", "-c", text])
listener = socket.create_server(("127.0.0.1", port))
while True:
    try:
        asked = socket.create_connection(("127.0.0.1", int(gateway)))
        break
    except OSError:
        time.sleep(0.02)
accepted = []
while True:
    accepted.append(listener.accept())
