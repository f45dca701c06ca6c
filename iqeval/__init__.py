"""Run a team's model on question suites in a sandboxed child, score it, report it.

The parent reads suites, starts the child, collects answers, scores them and writes results; the child is the only
place where a team's code is imported, and never sees an answer. This file imports nothing heavy: the child loads it too.
"""
