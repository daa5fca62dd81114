"""Registered models: what is registered of a run or a file, and the facts that go with it."""
