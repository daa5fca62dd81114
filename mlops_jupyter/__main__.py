"""``python -m mlops_jupyter`` is the command ``mlops``."""

from mlops_jupyter.cli import main

main()
