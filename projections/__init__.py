"""What we know: answers derived from events, for one app by folding, for all apps from read models."""
