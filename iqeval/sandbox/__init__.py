"""Ways to run the child so that a model reaches only what it may: bubblewrap, Landlock with seccomp, or nothing.

`choose` tries them by starting real children that try forbidden things; what is believed is what was refused.
"""
