"""What happened: events, the decisions that make them, and the append-only log that keeps them.

Nothing here knows Kubernetes, read models or a terminal. Start with `events` (the whole vocabulary),
then `decide` (when an event may happen) and `app` (what a stream of them adds up to).
"""
