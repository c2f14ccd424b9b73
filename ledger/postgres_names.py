"""Names and numbers that a ledger in PostgreSQL is known by to all that work with it."""

SCHEMA = "onectl"
"""The schema that holds the tables."""

CHANNEL = "onectl_ledger"
"""Every append notifies this channel with its last position. A hint to look sooner: whoever misses it asks anyway."""

ENDED = "OC001"
"""SQLSTATE of an append to a ledger that goes on elsewhere; the message is its writer, the detail its note."""

MIGRATION_LOCK = 0x31435450
"""Advisory lock of whoever creates or updates the schema ("1CTP")."""

READ_MODEL_LOCK = "read_model_lock"
"""Table without columns that whoever writes read models or snapshots, or redacts, locks. An advisory lock could be held by
anybody who may connect; to lock a table so takes a right to write it."""

OLD_READ_MODEL_LOCK = 0x31435452
"""Advisory lock ("1CTR") that stands for it where the tables are of a version before 6."""

LEASE_LOCKS = 0x31435457
"""First half of the advisory locks of cluster leaders ("1CTW"); the second half stands for the cluster."""

WRONG_CLOCK = "OC002"
"""SQLSTATE of an append by a clock that is far ahead of the server's; nothing was recorded."""

BAD_HEAD = "OC003"
"""SQLSTATE of an append behind a head that is not that of the newest line; nothing was recorded."""
