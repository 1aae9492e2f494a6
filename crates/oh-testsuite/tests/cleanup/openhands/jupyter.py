"""Becomes the program that is named, as Jupyter does."""

import os
import sys

program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "jupyter-" + sys.argv[1])
os.execv(sys.executable, [sys.executable, program, *sys.argv[2:]])
