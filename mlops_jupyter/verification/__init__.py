"""Replaying what was recorded and comparing what came out: verification of converted notebooks, reproduction of runs.

Everything runs in a scratch copy: nothing of the user's is written.
"""
