"""Names and numbers that a ledger in PostgreSQL is known by to all that work with it."""

SCHEMA = "onectl"
"""The schema that holds the tables."""

CHANNEL = "onectl_ledger"
"""Every append notifies this channel with its last position. A hint to look sooner: whoever misses it asks anyway."""

ENDED = "OC001"
"""SQLSTATE of an append to a ledger that goes on elsewhere; the message is its writer, the detail its note."""

MIGRATION_LOCK = 0x31435450
"""Advisory lock of whoever creates or updates the schema ("1CTP")."""

READ_MODEL_LOCK = 0x31435452
"""Advisory lock of whoever writes read models ("1CTR")."""

LEASE_LOCKS = 0x31435457
"""First half of the advisory locks of cluster leaders ("1CTW"); the second half stands for the cluster."""

WRONG_CLOCK = "OC002"
"""SQLSTATE of an append by a clock that is far ahead of the server's; nothing was recorded."""

BAD_HEAD = "OC003"
"""SQLSTATE of an append behind a head that is not that of the newest line; nothing was recorded."""
