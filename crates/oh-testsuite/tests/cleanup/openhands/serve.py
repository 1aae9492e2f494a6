"""Listens where its arguments say, and keeps who comes."""

import os
import re
import socket
import subprocess
import sys

if "STAND_IN_WORKSPACE" in os.environ and "kernelgateway" in sys.argv[0]:
    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "kernel.json"]
    workspace = os.environ["STAND_IN_WORKSPACE"]
    subprocess.Popen(kernel, cwd=workspace, start_new_session=True)
port = re.search(r"[Pp]ort[= ](\d+)", " ".join(sys.argv)).group(1)
listener = socket.create_server(("127.0.0.1", int(port)))
accepted = []
while True:
    accepted.append(listener.accept())
