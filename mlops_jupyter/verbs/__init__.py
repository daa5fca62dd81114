"""The verbs: one function each, called alike by the command line, the magics, the server and Python.

A verb takes a ``Workspace`` and plain arguments and returns a document (a dict that fits its JSON Schema in
``mlops_jupyter/schemas/``) or a frozen dataclass; it prints nothing and parses no command line.
"""
