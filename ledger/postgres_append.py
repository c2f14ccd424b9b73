"""The function that appends to a ledger in PostgreSQL, as text, and the call of it.

It runs with the rights of the tables' owner, and its caller may be anybody who may record. So it checks whatever it
writes outside of the new lines: that it is what the lines say. Of whoever may not write the tables themselves it also takes
no line that no program could read, and none that says more than is written with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

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

from ledger.events import AppEvent, LedgerEvent
from ledger.postgres_names import BAD_HEAD, CHANNEL, ENDED, READ_MODEL_LOCK, SCHEMA, WRONG_CLOCK
from ledger.request import REQUESTED
from ledger.spec import BLANK
from ledger.streams import LEDGER_STREAM

AHEAD_US = 24 * 60 * 60 * 1_000_000
"""By how much a writer's clock may be ahead of the server's. Later lines are never older, so one writer's wrong clock would
show in all of them."""

DEEP = 64
"""At which depth the JSON of a line ends at the latest. What programs write has less than ten levels."""

_OF_AN_APP = ",".join(sorted(kind.__name__ for kind in get_args(AppEvent)))
"""Topics of lines in an app's own stream."""

_OF_THE_LEDGER = ",".join(sorted(kind.__name__ for kind in get_args(LedgerEvent)))
"""Topics of lines in the ledger's own stream."""

_AS_JSON_FUNCTION = """
-- Refused if it is no UTF-8, or no JSON. A NUL in a text is fine, but this kind of JSON has none.
CREATE OR REPLACE FUNCTION as_json(state bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT replace(convert_from(state, 'UTF8'), '\\u0000', '\\u0001')::jsonb
$$
"""
"""Without a search path of its own, so that it becomes part of whatever calls it; only our functions do, and they have one."""

_SAID_FUNCTION = """
CREATE OR REPLACE FUNCTION said(topics text[], states bytea[], topic text) RETURNS SETOF jsonb
LANGUAGE sql IMMUTABLE SET search_path = {schema}, pg_temp AS $$
    SELECT as_json(line.state)
    FROM unnest(topics, states) AS line (kind, state) WHERE line.kind = topic
$$
"""

# Which stream is an app's cannot be computed in a database: it has no SHA-1. But an app has one, from its first life on.
# The row of a life says where the append begins that opened it; a new ledger's own two lines may come before the `Deployed`.
# Its topic is compared as computed, or all lines of that topic could be gone through, by the index of landmarks.
_IS_HOME_FUNCTION = """
CREATE OR REPLACE FUNCTION is_home_of(stream bytea, subject jsonb, no_life_yet boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    began bigint;
BEGIN
    IF no_life_yet THEN
        SELECT min(opened) INTO began FROM lives WHERE cluster = subject ->> 'cluster'
            AND namespace = subject ->> 'namespace' AND app = subject ->> 'app';
        IF began IS NULL THEN  -- a new app, in a stream that is no other one's
            RETURN NOT EXISTS (
                SELECT FROM stored_events WHERE originator_id = stream AND originator_version = 1
                    AND (as_json(state) #> '{meta,subject}' @> subject - 'deployment_id') IS NOT TRUE);
        END IF;
    ELSE
        SELECT opened INTO began FROM lives WHERE deployment_id = subject ->> 'deployment_id'
            AND cluster = subject ->> 'cluster' AND namespace = subject ->> 'namespace' AND app = subject ->> 'app';
    END IF;
    RETURN (
        SELECT originator_id = stream FROM stored_events
        WHERE notification_id = ANY (ARRAY[began, began + 1, began + 2]) AND topic || '' = 'Deployed'
        ORDER BY notification_id LIMIT 1);
END $$
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
    leaves bytea[];
    chains bytea[];
    checked boolean;
    line jsonb;
    clock jsonb;
    newest bigint;
    about jsonb;
    home jsonb;
    home_stream bytea;
    opens boolean;
    released boolean := false;
    wrong boolean := false;
    values_said bigint := 0;
BEGIN
    -- Local to the transaction, not to the function: what counts is how it is set at the commit that follows.
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM set_config('lock_timeout', lock_timeout_ms::text, true);
    IF redact_position IS NOT NULL THEN  -- or a snapshot could be written that was folded before and holds the text
        LOCK TABLE {read_model_lock} IN EXCLUSIVE MODE;
    END IF;
    -- Others wait for the head, so what can be known without it comes before. A condition with a query in it costs as much as
    -- a line does, so none is evaluated where there is nothing to ask.
    IF clock_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + {ahead_us} THEN
        RAISE EXCEPTION USING ERRCODE = '{wrong_clock}', MESSAGE = 'the clock is ahead';
    END IF;
    -- The owner can write whatever it wants to anyway.
    checked := NOT has_table_privilege(session_user, '{schema}.stored_events', 'INSERT');
    IF checked THEN
        wrong := life[1] IS DISTINCT FROM nullif(life_key[1], '');
        IF request IS NULL THEN
            wrong := wrong OR topics && '{{{requested}}}'::text[];
        END IF;
    END IF;
    -- Whoever sets the identity chooses who can open what is sealed from here on, a redaction ends a text, and a move the ledger:
    -- as much as rewrapping keys.
    IF ('{ledger_stream}'::bytea = ANY (streams) OR topics && '{{{of_the_ledger}}}'::text[]) AND NOT has_function_privilege(
        session_user, '{schema}.rewrap_life_keys(text[], text[], text[], bytea[], integer)', 'EXECUTE'
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = 'what concerns the ledger as a whole is set by the worker';
    END IF;
    IF request IS NOT NULL AND cardinality(streams) = 0 THEN
        RAISE insufficient_privilege USING MESSAGE = 'what is written beside the lines is not what they say';
    END IF;
    -- Nothing is written beside the lines but what they say: who may append could do otherwise what nobody sees in the log.
    IF coalesce(life, life_key, sealed_lives) IS NOT NULL OR coalesce(purge_life, shred, moved_to) IS NOT NULL THEN
        IF life IS NOT NULL AND NOT EXISTS (
            SELECT FROM said(topics, states, 'Deployed') AS event
            WHERE event #>> '{{data,deployment_id}}' = life[1] AND (event #> '{{data,release}}')::text = '1'
                AND event #>> '{{meta,subject,cluster}}' = life[2] AND event #>> '{{meta,subject,namespace}}' = life[3]
                AND event #>> '{{meta,subject,app}}' = life[4]
        ) OR life_key[1] <> '' AND NOT EXISTS (
            SELECT FROM said(topics, states, 'Deployed') AS event
            WHERE event #>> '{{data,deployment_id}}' = life_key[1] AND event #>> '{{data,life_key}}' IS NOT NULL
        ) OR EXISTS (
            SELECT FROM unnest(sealed_lives, sealed_keys, sealed_versions, ciphertexts) AS given (of_life, key, version, sealed)
            WHERE NOT EXISTS (
                SELECT FROM said(topics, states, 'SecretSet') AS event
                WHERE event #>> '{{meta,subject,deployment_id}}' = given.of_life
                    AND (event #> ARRAY['data', 'secrets', given.key, 'version'])::text = given.version::text
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
    SELECT * INTO STRICT head FROM ledger_head FOR UPDATE;
    -- Only now that the head is locked, the line that it names can be seen, whoever wrote it.
    SELECT here.*, newest.recorded_us, newest.chain INTO STRICT place
    FROM ledger_instance AS here LEFT JOIN stored_events AS newest ON newest.notification_id = head.position;
    IF head.recorded_us <> coalesce(place.recorded_us, 0) OR head.position > 0 AND head.chain IS DISTINCT FROM place.chain THEN
        RAISE EXCEPTION USING ERRCODE = '{bad_head}', MESSAGE = 'the head does not fit its events';
    END IF;
    IF place.writer <> place.instance THEN
        RAISE EXCEPTION USING ERRCODE = '{ended}', MESSAGE = place.writer, DETAIL = coalesce(place.note, '');
    END IF;
    -- Behind a key and its identity, which may be empty, stand a stream that was decided by and the version it had then.
    IF cardinality(life_key) > 2 THEN
        IF life_key[4]::bigint <> (
            SELECT coalesce(max(originator_version), 0) FROM stored_events
            WHERE originator_id = decode(life_key[3], 'hex')
        ) THEN
            RAISE serialization_failure USING MESSAGE = 'the stream that was decided on has grown';
        END IF;
    END IF;
    -- Of a line that is recorded, only the one field may be blanked that the event names, and the salt goes with it.
    IF redact_position IS NOT NULL THEN
        SELECT as_json(state) AS document, encode(sha256(state), 'hex') AS digest INTO before
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
        IF told ->> 'old_digest' <> before.digest THEN  -- another redaction was first, or it is none
            RAISE serialization_failure USING MESSAGE = 'the line is not what was decided on';
        END IF;
        IF (told ->> 'position' = redact_position::text AND told ->> 'old_digest' = before.digest
            AND told ->> 'new_digest' = encode(sha256(redact_state), 'hex')
            AND jsonb_typeof(before.document #> path) = 'string'
            AND jsonb_set(jsonb_set(before.document, path, '"{blank}"'), ARRAY['meta', 'salt'], '""')
                = as_json(redact_state)) IS NOT TRUE
        THEN
            RAISE insufficient_privilege USING MESSAGE = 'a redaction blanks the field that its event names, and no other';
        END IF;
    END IF;
    at_position := head.position;
    at_us := greatest(head.recorded_us, clock_us);
    at_chain := head.chain;
    FOR i IN 1 .. cardinality(streams) LOOP
        at_position := at_position + 1;
        -- Versions of a stream have no gap: a reader takes the lowest and the highest for what they should be. After a fail-over
        -- that lost lines, or in a ledger that was put back, a stream may end before what was decided on. Other programs than ours
        -- begin with version 0.
        IF i = 1 OR streams[i] <> streams[i - 1] THEN
            SELECT max(originator_version) INTO newest FROM stored_events WHERE originator_id = streams[i];
            IF newest IS NULL THEN
                newest := CASE WHEN checked OR versions[array_position(streams, streams[i])] > 0 THEN 0 ELSE -1 END;
            END IF;
            IF i > 1 THEN
                newest := newest + cardinality(array_positions(streams[:i - 1], streams[i]));
            END IF;
        END IF;
        newest := newest + 1;
        IF versions[i] <> newest THEN
            RAISE serialization_failure USING MESSAGE = 'another writer was first';
        END IF;
        IF checked THEN
            line := as_json(states[i]);
            -- Nor does a program read JSON that is too deep for it, or has numbers that it has none for.
            IF (jsonb_typeof(line -> 'data') = 'object' AND jsonb_typeof(line -> 'schema') = 'number'
                AND line #> '{{meta,clock}}' IS NOT NULL AND topics[i] ~ '^[A-Za-z][A-Za-z0-9]{{0,63}}$'
                AND NOT line @? '$.**{{{deep} to last}}' AND NOT line @? '$.** ? (@ > 1e300 || @ < -1e300)') IS NOT TRUE
            THEN
                RAISE insufficient_privilege USING MESSAGE = 'a line is none that a program could read';
            END IF;
            -- What was asked for at once has one request and one clock: they show which lines were appended together.
            IF request IS NOT NULL THEN
                clock := coalesce(clock, line #> '{{meta,clock}}');
                wrong := wrong OR (line #>> '{{meta,request_id}}' = request AND line #> '{{meta,clock}}' = clock) IS NOT TRUE;
            END IF;
            IF topics[i] = ANY ('{{{of_an_app}}}'::text[]) THEN
                about := line #> '{{meta,subject}}';
                opens := topics[i] = 'Deployed' AND line #>> '{{data,life_key}}' IS NOT NULL;
                IF (about = home AND streams[i] = home_stream) IS NOT TRUE THEN
                    IF is_home_of(
                        streams[i], about, opens OR topics[i] = 'ObjectAdopted' AND about ->> 'deployment_id' = ''
                    ) IS NOT TRUE THEN
                        RAISE insufficient_privilege USING MESSAGE = 'a line is not in the stream of what it is about';
                    END IF;
                    home := about;
                    home_stream := streams[i];
                END IF;
            END IF;
            -- What is initialised counts as much as what is evaluated, so few expressions are for all lines.
            IF topics[i] = ANY ('{{Deployed,SecretSet,SecretPurged,Destroyed,LedgerMoved}}'::text[]) THEN
                CASE topics[i]
                    WHEN 'Deployed' THEN
                        -- Verification tells by its bytes that a line opens a life.
                        wrong := wrong OR about -> 'deployment_id' IS DISTINCT FROM line #> '{{data,deployment_id}}'
                            OR opens <> (position('"life_key":"'::bytea IN states[i]) > 0)
                            OR opens AND (i > 3 OR released OR life[1] IS DISTINCT FROM line #>> '{{data,deployment_id}}');
                        released := true;
                    WHEN 'SecretSet' THEN
                        values_said := values_said + (SELECT count(*) FROM jsonb_object_keys(line #> '{{data,secrets}}'));
                    WHEN 'SecretPurged' THEN
                        wrong := wrong OR purge_life IS DISTINCT FROM line #>> '{{meta,subject,deployment_id}}'
                            OR purge_key IS DISTINCT FROM line #>> '{{data,key}}';
                    WHEN 'Destroyed' THEN
                        wrong := wrong OR shred IS DISTINCT FROM line #>> '{{meta,subject,deployment_id}}';
                    ELSE
                        wrong := wrong OR moved_to IS DISTINCT FROM line #>> '{{data,target}}';
                END CASE;
            END IF;
            IF wrong THEN
                RAISE insufficient_privilege USING MESSAGE = 'what the lines say is not what is written beside them';
            END IF;
        END IF;
        at_leaf := sha256(
            '\\x00'::bytea || int8send(at_position) || streams[i] || int8send(versions[i]) || int8send(at_us)
            || substring(int4send(octet_length(topics[i])) FROM 3) || convert_to(topics[i], 'UTF8') || sha256(states[i]));
        at_chain := sha256(at_chain || at_leaf);
        leaves[i] := at_leaf;
        chains[i] := at_chain;
        RETURN NEXT;
    END LOOP;
    -- All at once: an insert of its own for each of ten lines takes a sixth of appending them.
    INSERT INTO stored_events
    SELECT head.position + each.n, each.stream, each.version, each.topic, each.state, at_us, each.leaf, each.chain
    FROM unnest(streams, versions, topics, states, leaves, chains) WITH ORDINALITY
        AS each (stream, version, topic, state, leaf, chain, n);
    IF values_said <> 0 OR sealed_lives IS NOT NULL THEN
        IF checked AND values_said <> coalesce(cardinality(sealed_lives), 0) THEN
            RAISE insufficient_privilege USING MESSAGE = 'what the lines say is not what is written beside them';
        END IF;
    END IF;
    IF request IS NOT NULL THEN  -- its key shows if it was recorded meanwhile
        INSERT INTO requests VALUES (request, request_salt, request_digest, head.position + 1, at_position);
    END IF;
    IF life IS NOT NULL THEN
        INSERT INTO lives VALUES (life[1], life[2], life[3], life[4], head.position + 1);
    END IF;
    IF life_key[1] <> '' THEN
        INSERT INTO life_keys VALUES (life_key[1], life_key[2], life_key_wrapped);
    END IF;
    IF sealed_lives IS NOT NULL THEN
        INSERT INTO sealed_values SELECT * FROM unnest(sealed_lives, sealed_keys, sealed_versions, ciphertexts);
    END IF;
    IF redact_position IS NOT NULL THEN
        PERFORM set_config('onectl.redacting', redact_position::text, true);
        UPDATE stored_events SET state = redact_state WHERE notification_id = redact_position;
        PERFORM set_config('onectl.redacting', '', true);
        UPDATE requests SET salt = '', digest = ''  -- or what was blanked could be guessed from it
        WHERE field ~ '^(values|env)[.]' AND redact_position BETWEEN first_position AND last_position;
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
    yield _AS_JSON_FUNCTION
    yield _SAID_FUNCTION.format(schema=SCHEMA)
    yield _IS_HOME_FUNCTION
    yield _APPEND_FUNCTION.format(
        schema=SCHEMA,
        channel=CHANNEL,
        ended=ENDED,
        wrong_clock=WRONG_CLOCK,
        bad_head=BAD_HEAD,
        requested=",".join(sorted(REQUESTED)),
        deep=DEEP,
        ledger_stream=f"\\x{LEDGER_STREAM.bytes.hex()}",
        of_an_app=_OF_AN_APP,
        of_the_ledger=_OF_THE_LEDGER,
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
