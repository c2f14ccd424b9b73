"""Compiled from `ledger.tables` and `ledger.statements` for SQLite by `make sql`. Do not edit."""

SCHEMA: tuple[str, ...] = (
    'CREATE TABLE app_snapshots ( stream BLOB NOT NULL, position BIGINT NOT NULL, shape INTEGER NOT NULL, state BLOB NOT NULL, PRIMARY KEY (stream, position) )',
    'CREATE TABLE ledger_head ( one INTEGER NOT NULL, position BIGINT NOT NULL, recorded_us BIGINT NOT NULL, chain BLOB NOT NULL, PRIMARY KEY (one) )',
    'CREATE TABLE ledger_instance ( one INTEGER NOT NULL, instance TEXT NOT NULL, writer TEXT, note TEXT, PRIMARY KEY (one) )',
    'CREATE TABLE life_keys ( deployment_id TEXT NOT NULL, identity TEXT NOT NULL, wrapped BLOB NOT NULL, PRIMARY KEY (deployment_id) )',
    'CREATE TABLE lives ( deployment_id TEXT NOT NULL, cluster TEXT NOT NULL, namespace TEXT NOT NULL, app TEXT NOT NULL, opened BIGINT NOT NULL, PRIMARY KEY (deployment_id) )',
    'CREATE INDEX lives_app ON lives (cluster, namespace, app)',
    'CREATE TABLE requests ( request_id TEXT NOT NULL, salt BLOB NOT NULL, digest BLOB NOT NULL, first_position BIGINT NOT NULL, last_position BIGINT NOT NULL, PRIMARY KEY (request_id) )',
    'CREATE TABLE sealed_values ( deployment_id TEXT NOT NULL, "key" TEXT NOT NULL, version INTEGER NOT NULL, ciphertext BLOB NOT NULL, PRIMARY KEY (deployment_id, "key", version) )',
    'CREATE TABLE stored_events ( notification_id INTEGER NOT NULL, originator_id BLOB NOT NULL, originator_version BIGINT NOT NULL, topic TEXT NOT NULL, state BLOB NOT NULL, recorded_us BIGINT NOT NULL, leaf BLOB NOT NULL, chain BLOB NOT NULL, PRIMARY KEY (notification_id), CONSTRAINT stored_events_stream UNIQUE (originator_id, originator_version) )',
    "CREATE INDEX stored_events_landmarks ON stored_events (originator_id, notification_id, topic) WHERE topic IN ('Deployed', 'RolledBack', 'Destroyed', 'RolloutCompleted', 'RolloutFailed', 'SecretsFingerprinted')",
    'CREATE TABLE worker_leases ( cluster TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, locked INTEGER NOT NULL, expires_us BIGINT NOT NULL, renewed_us BIGINT NOT NULL, position BIGINT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (cluster) )',
    "CREATE TRIGGER stored_events_no_update BEFORE UPDATE ON stored_events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER stored_events_no_delete BEFORE DELETE ON stored_events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)
"""Creates every table, index and trigger, in this order."""

ADDED: dict[int, tuple[str, ...]] = {
    2: (
        'CREATE TABLE worker_leases ( cluster TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, locked INTEGER NOT NULL, expires_us BIGINT NOT NULL, renewed_us BIGINT NOT NULL, position BIGINT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (cluster) )',
        'CREATE TABLE app_snapshots ( stream BLOB NOT NULL, position BIGINT NOT NULL, shape INTEGER NOT NULL, state BLOB NOT NULL, PRIMARY KEY (stream, position) )',
    ),
    3: (
        "CREATE INDEX stored_events_landmarks ON stored_events (originator_id, notification_id, topic) WHERE topic IN ('Deployed', 'RolledBack', 'Destroyed', 'RolloutCompleted', 'RolloutFailed', 'SecretsFingerprinted')",
    ),
    4: (
    ),
    5: (
    ),
    6: (
    ),
    7: (
    ),
}
"""Creates what each version added to the one before."""

HEAD = 'SELECT ledger_head.position, ledger_head.recorded_us, ledger_head.chain FROM ledger_head'
FITTING_HEAD = 'SELECT ledger_head.position, ledger_head.recorded_us, ledger_head.chain FROM ledger_head LEFT OUTER JOIN stored_events ON stored_events.notification_id = ledger_head.position WHERE ledger_head.recorded_us = coalesce(stored_events.recorded_us, 0) AND (ledger_head.chain = stored_events.chain OR ledger_head.position = 0)'
LOCK_HEAD = 'SELECT ledger_head.position, ledger_head.recorded_us, ledger_head.chain FROM ledger_head'
MOVE_HEAD = 'UPDATE ledger_head SET position=:position, recorded_us=:recorded_us, chain=:chain'
INSERT_HEAD = 'INSERT INTO ledger_head (one, position, recorded_us, chain) VALUES (1, :position, :recorded_us, :chain)'
INSTANCE = 'SELECT ledger_instance.instance, ledger_instance.writer, ledger_instance.note FROM ledger_instance'
INSERT_INSTANCE = 'INSERT INTO ledger_instance (one, instance, writer, note) VALUES (1, :instance, :writer, :note)'
SET_WRITER = 'UPDATE ledger_instance SET writer=:writer, note=:note'
RENEW_INSTANCE = 'UPDATE ledger_instance SET instance=:instance, writer=:writer, note=:note'
INSERT_EVENT = 'INSERT INTO stored_events (notification_id, originator_id, originator_version, topic, state, recorded_us, leaf, chain) VALUES (:notification_id, :originator_id, :originator_version, :topic, :state, :recorded_us, :leaf, :chain)'
REDACT_EVENT = 'UPDATE stored_events SET state=:remaining WHERE stored_events.notification_id = :redacted_position AND stored_events.state = :before'
FORGET_REQUEST = 'UPDATE requests SET salt=:nothing, digest=:nothing WHERE requests.first_position <= :redacted_position AND requests.last_position >= :redacted_position'
STREAM_RANGE = 'SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE stored_events.originator_id = :stream AND stored_events.originator_version > :after AND stored_events.originator_version <= :upto ORDER BY stored_events.originator_version LIMIT :limit OFFSET 0'
STREAM_RANGE_DESCENDING = 'SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE stored_events.originator_id = :stream AND stored_events.originator_version > :after AND stored_events.originator_version <= :upto ORDER BY stored_events.originator_version DESC LIMIT :limit OFFSET 0'
TWO_STREAMS = 'SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE (stored_events.originator_id = :first AND stored_events.originator_version > :first_after AND stored_events.originator_version <= :first_upto OR stored_events.originator_id = :second AND stored_events.originator_version > :second_after AND stored_events.originator_version <= :second_upto) AND stored_events.notification_id <= :upto ORDER BY stored_events.notification_id'
LANDMARKS = "SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE stored_events.notification_id IN (SELECT stored_events.notification_id FROM stored_events WHERE stored_events.originator_id = :stream AND stored_events.topic IN ('Deployed', 'RolledBack', 'Destroyed', 'RolloutCompleted', 'RolloutFailed', 'SecretsFingerprinted') AND stored_events.topic = coalesce(:topic, stored_events.topic) AND stored_events.notification_id >= :start AND stored_events.notification_id <= :stop ORDER BY stored_events.notification_id LIMIT :limit OFFSET :skip) ORDER BY stored_events.notification_id"
LANDMARKS_DESCENDING = "SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE stored_events.notification_id IN (SELECT stored_events.notification_id FROM stored_events WHERE stored_events.originator_id = :stream AND stored_events.topic IN ('Deployed', 'RolledBack', 'Destroyed', 'RolloutCompleted', 'RolloutFailed', 'SecretsFingerprinted') AND stored_events.topic = coalesce(:topic, stored_events.topic) AND stored_events.notification_id >= :start AND stored_events.notification_id <= :stop ORDER BY stored_events.notification_id DESC LIMIT :limit OFFSET :skip) ORDER BY stored_events.notification_id DESC"
STREAM_VERSION = 'SELECT max(stored_events.originator_version) AS max_1 FROM stored_events WHERE stored_events.originator_id = :stream'
POSITIONS = 'SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE stored_events.notification_id >= :start AND stored_events.notification_id <= :stop ORDER BY stored_events.notification_id LIMIT :limit OFFSET 0'
POSITIONS_FROM = 'SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version, stored_events.topic, stored_events.state, stored_events.recorded_us, stored_events.leaf, stored_events.chain FROM stored_events WHERE stored_events.notification_id >= :start ORDER BY stored_events.notification_id LIMIT :limit OFFSET 0'
UNFINDABLE = 'SELECT stored_events.notification_id FROM stored_events WHERE stored_events.notification_id >= :start AND stored_events.notification_id <= :stop AND NOT (EXISTS (SELECT 1 FROM stored_events AS by_stream WHERE by_stream.originator_id = stored_events.originator_id AND by_stream.originator_version = stored_events.originator_version AND by_stream.notification_id + 0 = stored_events.notification_id)) ORDER BY stored_events.notification_id'
STREAM_PLACES = 'SELECT stored_events.notification_id, stored_events.originator_id, stored_events.originator_version FROM stored_events WHERE (stored_events.originator_id, stored_events.originator_version) > (:stream, :number) AND stored_events.notification_id + 0 <= :upto ORDER BY stored_events.originator_id, stored_events.originator_version LIMIT :limit OFFSET 0'
LANDMARK_PLACES = "SELECT stored_events.notification_id, stored_events.originator_id, stored_events.topic FROM stored_events WHERE stored_events.topic IN ('Deployed', 'RolledBack', 'Destroyed', 'RolloutCompleted', 'RolloutFailed', 'SecretsFingerprinted') AND (stored_events.originator_id, stored_events.notification_id) > (:stream, :number) AND stored_events.notification_id + 0 <= :upto ORDER BY stored_events.originator_id, stored_events.notification_id LIMIT :limit OFFSET 0"
REQUEST = 'SELECT requests.request_id, requests.salt, requests.digest, requests.first_position, requests.last_position FROM requests WHERE requests.request_id = :request_id'
REQUEST_PLACES = 'SELECT requests.request_id, requests.first_position, requests.last_position FROM requests WHERE requests.request_id > :after ORDER BY requests.request_id LIMIT :limit OFFSET 0'
INSERT_REQUEST = 'INSERT INTO requests (request_id, salt, digest, first_position, last_position) VALUES (:request_id, :salt, :digest, :first_position, :last_position)'
LIFE = 'SELECT lives.deployment_id, lives.cluster, lives.namespace, lives.app, lives.opened FROM lives WHERE lives.deployment_id = :deployment_id'
APPS = 'SELECT DISTINCT lives.namespace, lives.app FROM lives WHERE lives.cluster = :cluster ORDER BY lives.namespace, lives.app'
INSERT_LIFE = 'INSERT INTO lives (deployment_id, cluster, namespace, app, opened) VALUES (:deployment_id, :cluster, :namespace, :app, :opened)'
NEXT_LIFE = 'SELECT min(lives.opened) AS min_1 FROM lives WHERE lives.cluster = :cluster AND lives.namespace = :namespace AND lives.app = :app AND lives.opened > :opened'
SNAPSHOT = 'SELECT app_snapshots.stream, app_snapshots.position, app_snapshots.shape, app_snapshots.state FROM app_snapshots WHERE app_snapshots.stream = :stream AND app_snapshots.shape = :shape AND app_snapshots.position <= :upto ORDER BY app_snapshots.position DESC LIMIT 1 OFFSET 0'
SNAPSHOTS_PAGE = 'SELECT app_snapshots.stream, app_snapshots.position, app_snapshots.shape, app_snapshots.state FROM app_snapshots WHERE (app_snapshots.stream, app_snapshots.position) > (:stream, :position) ORDER BY app_snapshots.stream, app_snapshots.position LIMIT :limit OFFSET 0'
COUNT_SNAPSHOTS = 'SELECT count(*) AS count_1 FROM app_snapshots WHERE app_snapshots.shape = :shape'
INSERT_SNAPSHOT = 'INSERT INTO app_snapshots (stream, position, shape, state) VALUES (:stream, :position, :shape, :state)'
DELETE_SNAPSHOT = 'DELETE FROM app_snapshots WHERE app_snapshots.stream = :of_stream AND app_snapshots.position = :at_position'
APPS_PAGE = 'SELECT DISTINCT lives.cluster, lives.namespace, lives.app FROM lives WHERE (lives.cluster, lives.namespace, lives.app) > (:after_cluster, :after_namespace, :after_app) ORDER BY lives.cluster, lives.namespace, lives.app LIMIT :limit OFFSET 0'
COUNT_APPS = 'SELECT count(*) AS count_1 FROM (SELECT DISTINCT lives.cluster AS cluster, lives.namespace AS namespace, lives.app AS app FROM lives) AS anon_1'
LIFE_KEY = 'SELECT life_keys.deployment_id, life_keys.identity, life_keys.wrapped FROM life_keys WHERE life_keys.deployment_id = :deployment_id'
INSERT_LIFE_KEY = 'INSERT INTO life_keys (deployment_id, identity, wrapped) VALUES (:deployment_id, :identity, :wrapped)'
LIFE_KEY_IDENTITIES = 'SELECT life_keys.identity, count(*) AS count_1 FROM life_keys GROUP BY life_keys.identity'
LIFE_KEYS_EXCEPT = 'SELECT life_keys.deployment_id, life_keys.identity, life_keys.wrapped FROM life_keys WHERE life_keys.identity != :identity AND life_keys.deployment_id > :after ORDER BY life_keys.deployment_id LIMIT :limit OFFSET 0'
REWRAP_LIFE_KEY = 'UPDATE life_keys SET identity=:after, wrapped=:rewrapped WHERE life_keys.deployment_id = :life AND life_keys.identity = :before'
DELETE_LIFE_KEY = 'DELETE FROM life_keys WHERE life_keys.deployment_id = :deployment_id'
SEALED = 'SELECT sealed_values."key", sealed_values.version, sealed_values.ciphertext FROM sealed_values WHERE sealed_values.deployment_id = :deployment_id'
SEALED_SIZES = 'SELECT sealed_values."key", sealed_values.version, length(sealed_values.ciphertext) AS length_1 FROM sealed_values WHERE sealed_values.deployment_id = :deployment_id'
INSERT_SEALED = 'INSERT INTO sealed_values (deployment_id, "key", version, ciphertext) VALUES (:deployment_id, :key, :version, :ciphertext)'
PURGE_SEALED = 'DELETE FROM sealed_values WHERE sealed_values.deployment_id = :deployment_id AND sealed_values."key" = :key'
DELETE_SEALED = 'DELETE FROM sealed_values WHERE sealed_values.deployment_id = :deployment_id'
REQUESTS_PAGE = 'SELECT requests.request_id, requests.salt, requests.digest, requests.first_position, requests.last_position FROM requests WHERE requests.request_id > :after ORDER BY requests.request_id LIMIT :limit OFFSET 0'
LIVES_PAGE = 'SELECT lives.deployment_id, lives.cluster, lives.namespace, lives.app, lives.opened FROM lives WHERE lives.deployment_id > :after ORDER BY lives.deployment_id LIMIT :limit OFFSET 0'
LIFE_KEYS_PAGE = 'SELECT life_keys.deployment_id, life_keys.identity, life_keys.wrapped FROM life_keys WHERE life_keys.deployment_id > :after ORDER BY life_keys.deployment_id LIMIT :limit OFFSET 0'
SEALED_LIVES = 'SELECT DISTINCT sealed_values.deployment_id FROM sealed_values WHERE sealed_values.deployment_id > :after ORDER BY sealed_values.deployment_id LIMIT :limit OFFSET 0'
DELETE_REQUESTS = 'DELETE FROM requests'
DELETE_LIVES = 'DELETE FROM lives'
DELETE_LIFE_KEYS = 'DELETE FROM life_keys'
DELETE_SEALED_VALUES = 'DELETE FROM sealed_values'
DELETE_WORKER_LEASES = 'DELETE FROM worker_leases'
DELETE_APP_SNAPSHOTS = 'DELETE FROM app_snapshots'
LEASE = 'SELECT worker_leases.holder, worker_leases.epoch, worker_leases.expires_us > :now_us AS valid, :now_us - worker_leases.renewed_us AS age_us, worker_leases.position, worker_leases.note FROM worker_leases WHERE worker_leases.cluster = :of_cluster'
LEASE_IS_FREE = 'SELECT worker_leases.expires_us <= :now_us OR worker_leases.holder = :by_holder OR worker_leases.locked = 1 AND :with_lock = 1 AS anon_1 FROM worker_leases WHERE worker_leases.cluster = :of_cluster'
INSERT_LEASE = 'INSERT INTO worker_leases (cluster, holder, epoch, locked, expires_us, renewed_us, position, note) VALUES (:of_cluster, :by_holder, 1, :with_lock, (:now_us + :span_us), :now_us, 0, :with_note)'
TAKE_LEASE = 'UPDATE worker_leases SET holder=:by_holder, epoch=(worker_leases.epoch + 1), locked=:with_lock, expires_us=(:now_us + :span_us), renewed_us=:now_us, note=:with_note WHERE worker_leases.cluster = :of_cluster AND (worker_leases.expires_us <= :now_us OR worker_leases.holder = :by_holder OR worker_leases.locked = 1 AND :with_lock = 1)'
RENEW_LEASE = 'UPDATE worker_leases SET locked=:with_lock, expires_us=(:now_us + :span_us), renewed_us=:now_us, position=:at_position, note=:with_note WHERE worker_leases.cluster = :of_cluster AND worker_leases.holder = :by_holder AND worker_leases.epoch = :of_epoch'
EXPIRE_LEASE = 'UPDATE worker_leases SET expires_us=:now_us WHERE worker_leases.cluster = :of_cluster AND worker_leases.holder = :by_holder AND worker_leases.epoch = :of_epoch'
