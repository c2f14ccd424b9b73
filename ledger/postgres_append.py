"""The function that appends to a ledger in PostgreSQL, as text, and the call of it.

It runs with the rights of the tables' owner, and its caller may be anybody who may record. So it checks whatever it
writes outside of the new lines: that it is what the lines say.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    LargeBinary,
    Select,
    Text,
    bindparam,
    column,
    func,
    select,
)

from ledger.postgres_names import CHANNEL, ENDED, READ_MODEL_LOCK, SCHEMA, WRONG_CLOCK
from ledger.spec import BLANK

AHEAD_US = 24 * 60 * 60 * 1_000_000
"""By how much a writer's clock may be ahead of the server's. Later lines are never older, so one writer's wrong clock would
show in all of them."""

_SAID_FUNCTION = """
CREATE OR REPLACE FUNCTION said(topics text[], states bytea[], topic text) RETURNS SETOF jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT convert_from(line.state, 'UTF8')::jsonb
    FROM unnest(topics, states) AS line (kind, state) WHERE line.kind = topic
$$
"""

_APPEND_FUNCTION = """
CREATE OR REPLACE FUNCTION append_events(
    streams bytea[], versions bigint[], topics text[], states bytea[], clock_us bigint, lock_timeout_ms integer,
    request text, request_salt bytea, request_digest bytea,
    life text[], life_key text[], life_key_wrapped bytea,
    sealed_lives text[], sealed_keys text[], sealed_versions bigint[], ciphertexts bytea[],
    redact_position bigint, redact_state bytea, purge_life text, purge_key text, shred text,
    moved_to text, moved_note text
) RETURNS TABLE (at_position bigint, at_us bigint, at_leaf bytea, at_chain bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    head record;
    place record;
    before record;
    told jsonb;
    field text;
    path text[];
    name bytea;
BEGIN
    -- Local to the transaction, not to the function: what counts is how it is set at the commit that follows.
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM set_config('lock_timeout', lock_timeout_ms::text, true);
    IF redact_position IS NOT NULL THEN  -- or a snapshot could be written that was folded before and holds the text
        PERFORM pg_advisory_xact_lock({read_model_lock});
    END IF;
    SELECT * INTO STRICT head FROM ledger_head FOR UPDATE;
    SELECT * INTO STRICT place FROM ledger_instance;
    IF place.writer <> place.instance THEN
        RAISE EXCEPTION USING ERRCODE = '{ended}', MESSAGE = place.writer, DETAIL = coalesce(place.note, '');
    END IF;
    -- A condition with a query in it costs as much as a line does, so none is evaluated where there is nothing to ask.
    IF request IS NOT NULL THEN
        IF EXISTS (SELECT FROM requests WHERE request_id = request) THEN
            RAISE unique_violation USING MESSAGE = 'the request id was recorded meanwhile';
        ELSIF cardinality(streams) = 0 THEN
            RAISE insufficient_privilege USING MESSAGE = 'what is written beside the lines is not what they say';
        END IF;
    END IF;
    -- Behind a key and its identity stand the stream that named the identity, and the version it had then.
    IF cardinality(life_key) > 2 THEN
        IF life_key[4]::bigint <> (
            SELECT coalesce(max(originator_version), 0) FROM stored_events
            WHERE originator_id = decode(life_key[3], 'hex')
        ) THEN
            RAISE serialization_failure USING MESSAGE = 'the stream that was decided on has grown';
        END IF;
    END IF;
    -- Whoever sets the identity chooses who can open what is sealed from here on: as much as rewrapping keys.
    IF 'WorkerIdentitySet' = ANY (topics) AND NOT has_function_privilege(
        session_user, '{schema}.rewrap_life_keys(text[], text[], text[], bytea[], integer)', 'EXECUTE'
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = 'the effects identity is set by the worker';
    END IF;
    -- Nothing is written beside the lines but what they say: who may append could do otherwise what nobody sees in the log.
    IF coalesce(life, life_key, sealed_lives) IS NOT NULL OR coalesce(purge_life, shred, moved_to) IS NOT NULL THEN
        IF life IS NOT NULL AND NOT EXISTS (
            SELECT FROM said(topics, states, 'Deployed') AS event
            WHERE event #>> '{{data,deployment_id}}' = life[1] AND event #>> '{{data,release}}' = '1'
                AND event #>> '{{meta,subject,cluster}}' = life[2] AND event #>> '{{meta,subject,namespace}}' = life[3]
                AND event #>> '{{meta,subject,app}}' = life[4]
        ) OR life_key IS NOT NULL AND NOT EXISTS (
            SELECT FROM said(topics, states, 'Deployed') AS event
            WHERE event #>> '{{data,deployment_id}}' = life_key[1] AND event #>> '{{data,life_key}}' IS NOT NULL
        ) OR EXISTS (
            SELECT FROM unnest(sealed_lives, sealed_keys, sealed_versions, ciphertexts) AS given (of_life, key, version, sealed)
            WHERE NOT EXISTS (
                SELECT FROM said(topics, states, 'SecretSet') AS event
                WHERE event #>> '{{meta,subject,deployment_id}}' = given.of_life
                    AND event #>> ARRAY['data', 'secrets', given.key, 'version'] = given.version::text
                    AND event #>> ARRAY['data', 'secrets', given.key, 'digest'] = encode(sha256(given.sealed), 'hex'))
        ) OR purge_life IS NOT NULL AND NOT EXISTS (
            SELECT FROM said(topics, states, 'SecretPurged') AS event
            WHERE event #>> '{{meta,subject,deployment_id}}' = purge_life AND event #>> '{{data,key}}' = purge_key
        ) OR shred IS NOT NULL AND NOT EXISTS (
            SELECT FROM said(topics, states, 'Destroyed') AS event WHERE event #>> '{{meta,subject,deployment_id}}' = shred
        ) OR moved_to IS NOT NULL AND NOT EXISTS (
            SELECT FROM said(topics, states, 'LedgerMoved') AS event WHERE event #>> '{{data,target}}' = moved_to
        ) THEN
            RAISE insufficient_privilege USING MESSAGE = 'what is written beside the lines is not what they say';
        END IF;
    END IF;
    -- Of a line that is recorded, only the one field may be blanked that the event names, and the salt goes with it.
    IF redact_position IS NOT NULL THEN
        SELECT convert_from(state, 'UTF8')::jsonb AS document, encode(sha256(state), 'hex') AS digest INTO before
        FROM stored_events WHERE notification_id = redact_position;
        SELECT event -> 'data' INTO told FROM said(topics, states, 'Redacted') AS event;
        field := told ->> 'field';
        path := CASE
            WHEN field = 'reason' THEN ARRAY['meta', 'reason']
            WHEN field = 'message' THEN ARRAY['data', 'message']
            WHEN field ~ '^(values|env)[.]' THEN
                ARRAY['data', split_part(field, '.', 1), substring(field FROM position('.' IN field) + 1)]
            WHEN field ~ '^fields[.][0-9]+[.](wanted|found)$' THEN ARRAY['data'] || string_to_array(field, '.')
        END;
        IF (told ->> 'position' = redact_position::text AND told ->> 'old_digest' = before.digest
            AND told ->> 'new_digest' = encode(sha256(redact_state), 'hex')
            AND jsonb_typeof(before.document #> path) = 'string'
            AND jsonb_set(jsonb_set(before.document, path, '"{blank}"'), ARRAY['meta', 'salt'], '""')
                = convert_from(redact_state, 'UTF8')::jsonb) IS NOT TRUE
        THEN
            RAISE insufficient_privilege USING MESSAGE = 'a redaction blanks the field that its event names, and no other';
        END IF;
    END IF;
    IF clock_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + {ahead_us} THEN
        RAISE EXCEPTION USING ERRCODE = '{wrong_clock}', MESSAGE = 'the clock is ahead';
    END IF;
    at_position := head.position;
    at_us := greatest(head.recorded_us, clock_us);
    at_chain := head.chain;
    FOR i IN 1 .. cardinality(streams) LOOP
        at_position := at_position + 1;
        name := convert_to(topics[i], 'UTF8');
        at_leaf := sha256(
            '\\x00'::bytea || int8send(at_position) || streams[i] || int8send(versions[i]) || int8send(at_us)
            || substring(int4send(length(name)) FROM 3) || name || sha256(states[i]));
        at_chain := sha256(at_chain || at_leaf);
        INSERT INTO stored_events VALUES (
            at_position, streams[i], versions[i], topics[i], states[i], at_us, at_leaf, at_chain);
        RETURN NEXT;
    END LOOP;
    IF request IS NOT NULL THEN
        INSERT INTO requests VALUES (request, request_salt, request_digest, head.position + 1, at_position);
    END IF;
    IF life IS NOT NULL THEN
        INSERT INTO lives VALUES (life[1], life[2], life[3], life[4], head.position + 1);
    END IF;
    IF life_key IS NOT NULL THEN
        INSERT INTO life_keys VALUES (life_key[1], life_key[2], life_key_wrapped);
    END IF;
    IF sealed_lives IS NOT NULL THEN
        INSERT INTO sealed_values SELECT * FROM unnest(sealed_lives, sealed_keys, sealed_versions, ciphertexts);
    END IF;
    IF redact_position IS NOT NULL THEN
        PERFORM set_config('onectl.redacting', redact_position::text, true);
        UPDATE stored_events SET state = redact_state WHERE notification_id = redact_position;
        PERFORM set_config('onectl.redacting', '', true);
        DELETE FROM app_snapshots;  -- one may hold what was blanked
    END IF;
    IF purge_life IS NOT NULL THEN
        DELETE FROM sealed_values WHERE deployment_id = purge_life AND key = purge_key;
    END IF;
    IF moved_to IS NOT NULL THEN
        UPDATE ledger_instance SET writer = moved_to, note = moved_note;
    END IF;
    IF shred IS NOT NULL THEN
        DELETE FROM life_keys WHERE deployment_id = shred;
        DELETE FROM sealed_values WHERE deployment_id = shred;
    END IF;
    IF at_position > head.position THEN
        UPDATE ledger_head SET position = at_position, recorded_us = at_us, chain = at_chain;
        PERFORM pg_notify('{channel}', at_position::text);
    END IF;
END $$
"""


def append_function_text() -> Iterator[str]:
    """The statements that make the function, or replace it, with our schema as search path."""
    yield _SAID_FUNCTION
    yield _APPEND_FUNCTION.format(
        schema=SCHEMA,
        channel=CHANNEL,
        ended=ENDED,
        wrong_clock=WRONG_CLOCK,
        ahead_us=AHEAD_US,
        read_model_lock=READ_MODEL_LOCK,
        blank=BLANK,
    )


def append_statement() -> Select[tuple[int, int, bytes, bytes]]:
    """The call that appends, with a parameter for each argument of the function."""
    texts, numbers, octets = ARRAY(Text), ARRAY(BigInteger), ARRAY(LargeBinary)
    arguments = (
        bindparam("streams", type_=octets),
        bindparam("versions", type_=numbers),
        bindparam("topics", type_=texts),
        bindparam("states", type_=octets),
        bindparam("clock_us", type_=BigInteger),
        bindparam("lock_timeout_ms", type_=Integer),
        bindparam("request", type_=Text),
        bindparam("request_salt", type_=LargeBinary),
        bindparam("request_digest", type_=LargeBinary),
        bindparam("life", type_=texts),
        bindparam("life_key", type_=texts),
        bindparam("life_key_wrapped", type_=LargeBinary),
        bindparam("sealed_lives", type_=texts),
        bindparam("sealed_keys", type_=texts),
        bindparam("sealed_versions", type_=numbers),
        bindparam("ciphertexts", type_=octets),
        bindparam("redact_position", type_=BigInteger),
        bindparam("redact_state", type_=LargeBinary),
        bindparam("purge_life", type_=Text),
        bindparam("purge_key", type_=Text),
        bindparam("shred", type_=Text),
        bindparam("moved_to", type_=Text),
        bindparam("moved_note", type_=Text),
    )
    placed = (
        getattr(func, SCHEMA)
        .append_events(*arguments)
        .table_valued(
            column("at_position", BigInteger),
            column("at_us", BigInteger),
            column("at_leaf", LargeBinary),
            column("at_chain", LargeBinary),
        )
    )
    return select(placed.c.at_position, placed.c.at_us, placed.c.at_leaf, placed.c.at_chain)
