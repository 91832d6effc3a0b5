-- name: begin
-- So that a process that is frozen in the middle frees the others: the server ends its transaction.
BEGIN;
SET LOCAL lock_timeout = '10s';
SET LOCAL idle_in_transaction_session_timeout = '5s';
SET LOCAL synchronous_commit = on;

-- name: frozen
-- The same of a transaction that has begun already, and takes the lock for something else than appends.
SET LOCAL lock_timeout = '10s';
SET LOCAL idle_in_transaction_session_timeout = '5s';

-- name: lock_log
-- In a statement of its own: what follows sees everything that was committed before the lock was had.
SELECT position, time, hash FROM log FOR UPDATE;

-- name: move_log
UPDATE log SET position = $1, time = $2, hash = $3;

-- name: head
SELECT position FROM log;

-- name: look_up
-- What a batch asks about: 1, the highest versions of streams; 2, which ids there are; 3, who holds names; 4, whether
-- the hub was moved away.
SELECT 1 AS kind, wanted.stream AS key, coalesce(
           (SELECT version FROM events WHERE events.stream = wanted.stream ORDER BY version DESC LIMIT 1), 0
       ) AS number, NULL AS holder
FROM unnest($1::text[]) AS wanted (stream)
UNION ALL
SELECT 2, id, position, NULL FROM events WHERE id = ANY ($2::text[])
UNION ALL
SELECT 3, name, 0, stream FROM names WHERE name = ANY ($3::text[])
UNION ALL
SELECT 4, value, 0, NULL FROM meta WHERE key = 'moved';

-- name: by_id
SELECT {columns} FROM events WHERE id = ANY ($1::text[]);

-- name: free_names
DELETE FROM names WHERE name = ANY ($1::text[]);

-- name: at
SELECT {columns} FROM events WHERE position = $1;

-- name: stream
SELECT {columns} FROM events WHERE stream = $1 AND version > $2 ORDER BY version;

-- name: stream_to
SELECT {columns} FROM events WHERE stream = $1 AND version <= $2 ORDER BY version;

-- name: page
-- Until their data makes up some bytes; at least one where there is one.
SELECT {columns} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY position) - octet_length(data) AS bytes_before
    FROM (SELECT * FROM events WHERE position > $1 ORDER BY position LIMIT $2) AS next
) AS page
WHERE bytes_before < $3
ORDER BY position;

-- name: scan
SELECT {all} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY position) - octet_length(data) AS bytes_before
    FROM (SELECT * FROM events WHERE position > $1 ORDER BY position LIMIT $2) AS next
) AS page
WHERE bytes_before < $3
ORDER BY position;

-- name: raw
SELECT {all} FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3;

-- name: link_at
SELECT position, time, hash FROM events WHERE position = $1;

-- name: time_at
-- The first event at a position or after it: positions are dense unless somebody deleted some.
SELECT position, time FROM events WHERE position >= $1 ORDER BY position LIMIT 1;

-- name: types
-- Every type there is in the log: one seek each.
WITH RECURSIVE found (type) AS (
    (SELECT type FROM events ORDER BY type LIMIT 1)
    UNION ALL
    SELECT (SELECT type FROM events WHERE events.type > found.type ORDER BY type LIMIT 1)
    FROM found WHERE found.type IS NOT NULL
)
SELECT type FROM found WHERE type IS NOT NULL;

-- name: get_meta
SELECT value FROM meta WHERE key = $1;

-- name: set_meta
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: add_meta
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING;

-- name: drop_meta
DELETE FROM meta WHERE key = $1;

-- name: marks
SELECT key, value FROM meta WHERE key = ANY ($1::text[]);

-- name: columns_of
-- The columns of a table, by name, and their types.
SELECT column_name::text, data_type::text FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1
ORDER BY column_name COLLATE "C";

-- name: border
-- From the index of (stream, version) alone.
SELECT stream FROM events WHERE stream > $1 ORDER BY stream, version LIMIT 1 OFFSET $2;

-- name: standing
-- The version of each stream, -1 where its data was archived; one seek in the index of (stream, version).
SELECT wanted.stream, coalesce(
           (SELECT CASE WHEN data = '' THEN -1 ELSE version END
            FROM events WHERE events.stream = wanted.stream ORDER BY version DESC LIMIT 1), 0
       )
FROM unnest($1::text[]) AS wanted (stream);

-- name: notes
SELECT substr(key, length($1) + 1), value FROM meta WHERE starts_with(key, $1);

-- name: execution_stats
-- From the indexes of (workflow_id, status, created_at) alone. What was archived still counts.
WITH runs AS (
    SELECT workflow_id, status, created_at FROM executions
    UNION ALL
    SELECT workflow_id, status, created_at FROM archived_executions
)
SELECT workflow_id,
       count(*),
       count(*) FILTER (WHERE status IN ('completed', 'failed', 'cancelled', 'terminated')),
       count(*) FILTER (WHERE status = 'completed'),
       max(created_at)
FROM runs
WHERE workflow_id = ANY ($1::text[])
GROUP BY workflow_id;

-- name: claimable
SELECT id, engine, priority FROM (
    SELECT id, engine, priority FROM executions WHERE runnable_at <= $1 AND is_in_queue = 0
    UNION ALL
    SELECT id, engine, 11 FROM executions WHERE queue_deadline <= $1 AND is_in_queue = 1
) AS due
WHERE engine IS NULL
   OR NOT EXISTS (SELECT 1 FROM engines WHERE engines.id = due.engine AND engines.expires_at > clock_timestamp())
ORDER BY priority DESC, id
LIMIT $2;

-- name: next_runnable_at
SELECT min(at) FROM (
    SELECT min(runnable_at) AS at FROM executions WHERE runnable_at > $1 AND is_in_queue = 0
    UNION ALL
    SELECT min(runnable_at) FROM executions WHERE runnable_at > $1 AND is_in_queue = 1
    UNION ALL
    SELECT min(queue_deadline) FROM executions WHERE queue_deadline > $1 AND is_in_queue = 1
) AS times;

-- name: queues
-- Organizations with anything in the queue, one after the other by the index; and how many of each one's runs have begun.
WITH RECURSIVE found (id) AS (
    SELECT min(organization_id) FROM executions WHERE is_in_queue = 1
    UNION ALL
    SELECT (SELECT min(organization_id) FROM executions WHERE is_in_queue = 1 AND organization_id > found.id)
    FROM found WHERE found.id IS NOT NULL
)
SELECT id, (SELECT count(*) FROM executions WHERE organization_id = found.id AND is_holding = 1)
FROM found WHERE id IS NOT NULL;

-- name: places
SELECT slot, concurrency_key, concurrency_slot
FROM executions
WHERE organization_id = $1 AND is_holding = 1 AND (slot IS NOT NULL OR concurrency_slot IS NOT NULL);

-- name: in_queue
-- Those whose time has come; but for those whose key has no place left.
SELECT id, priority, concurrency_key, concurrency_limit
FROM executions
WHERE organization_id = $1 AND is_in_queue = 1 AND runnable_at <= $2
  AND (concurrency_key IS NULL OR concurrency_key NOT IN (
      SELECT concurrency_key FROM executions
      WHERE organization_id = $1 AND is_holding = 1 AND concurrency_key IS NOT NULL
      GROUP BY concurrency_key HAVING count(*) >= max(concurrency_limit)))
ORDER BY priority DESC, id
LIMIT $3;

-- name: recent_durations
SELECT started_at, completed_at FROM executions
WHERE workflow_id = $1 AND status = 'completed'
ORDER BY created_at DESC
LIMIT $2;

-- name: engine_beat
INSERT INTO engines (id, expires_at) VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at;

-- name: engine_leave
DELETE FROM engines WHERE id = $1;

-- name: engine_leave_all
DELETE FROM engines;

-- name: engines_alive
SELECT count(*) FROM engines WHERE expires_at > clock_timestamp();

-- name: lease_take
-- Changes a row where the lease is free, has run out, or is the holder's already.
INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE leases.holder = excluded.holder OR leases.expires_at <= clock_timestamp()
RETURNING true;

-- name: lease_drop
DELETE FROM leases WHERE name = $1 AND holder = $2;

-- name: task_claim_lock
-- One claim in an organization at a time: none waits for a task that another is just taking.
SELECT pg_advisory_xact_lock(1918987878, hashtext($1));

-- name: task_claim
-- Urgent ones first, then the oldest.
WITH found AS (
    SELECT of_type.id
    FROM unnest($2::text[]) AS wanted (type)
    CROSS JOIN LATERAL (
        SELECT id, priority, created_at FROM tasks
        WHERE organization_id = $1 AND claimable_type = wanted.type
          AND NOT EXISTS (
              SELECT 1 FROM task_leases WHERE task_id = tasks.id AND expires_at > clock_timestamp()
          )
        ORDER BY priority DESC, created_at, id LIMIT $3
    ) AS of_type
    ORDER BY of_type.priority DESC, of_type.created_at, of_type.id LIMIT $3
)
INSERT INTO task_leases (task_id, worker_id, lease_id, expires_at)
SELECT id, $4, $5, clock_timestamp() + make_interval(secs => $6) FROM found
ON CONFLICT (task_id) DO UPDATE
SET worker_id = excluded.worker_id, lease_id = excluded.lease_id, expires_at = excluded.expires_at
WHERE task_leases.expires_at <= clock_timestamp()
RETURNING task_id;

-- name: task_lease_take
-- Changes a row where nobody has the task, or the lease has run out.
INSERT INTO task_leases (task_id, worker_id, lease_id, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
ON CONFLICT (task_id) DO UPDATE
SET worker_id = excluded.worker_id, lease_id = excluded.lease_id, expires_at = excluded.expires_at
WHERE task_leases.expires_at <= clock_timestamp()
RETURNING true;

-- name: task_lease_renew
-- One that has run out is lost, whether anybody has noticed or not.
UPDATE task_leases SET expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE task_id = $1 AND worker_id = $2 AND expires_at > clock_timestamp();

-- name: task_lease_drop
DELETE FROM task_leases WHERE task_id = $1 AND lease_id = $2;

-- name: task_leases_expired
SELECT task_id, worker_id, lease_id FROM task_leases
WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT $1;

-- name: tasks_without_lease
SELECT id, version FROM tasks
WHERE kind = 'external' AND status = 'running'
  AND NOT EXISTS (SELECT 1 FROM task_leases WHERE task_id = tasks.id)
ORDER BY id LIMIT $1;

-- name: organization
SELECT id, name, sealed_key, created_at, plan, own_runs_at_once FROM organizations WHERE id = $1;

-- name: organization_by_name
SELECT id, name, sealed_key, created_at, plan, own_runs_at_once FROM organizations WHERE name = $1;

-- name: organization_add
INSERT INTO organizations (id, name, sealed_key, created_at, plan, own_runs_at_once) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- name: organizations
SELECT id, name, sealed_key, created_at, plan, own_runs_at_once FROM organizations ORDER BY name;

-- name: organization_set_plan
UPDATE organizations SET plan = $2, own_runs_at_once = $3 WHERE id = $1;

-- name: organization_replace_key
UPDATE organizations SET sealed_key = $3 WHERE id = $1 AND sealed_key = $2;

-- name: ended
-- Executions that ended before a time and after a key, and that no delivery and no replay waits for.
SELECT id, organization_id, workflow_id, status, created_at, completed_at, version
FROM executions
WHERE completed_at < $1
  AND (completed_at, id) > ($2, $3)
  AND status IN ('completed', 'failed', 'cancelled', 'terminated')
  AND (SELECT max(position) FROM events WHERE execution_id = executions.id)
      <= (SELECT position FROM checkpoints WHERE name = 'fanout')
  AND id NOT IN (SELECT execution_id FROM deliveries JOIN events USING (position)
                 WHERE deliveries.due_at IS NOT NULL AND execution_id IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM replays
                  WHERE replays.completed_at IS NULL
                    AND replays.organization_id = executions.organization_id
                    AND greatest(replays.first, replays.position + 1)
                        <= (SELECT max(position) FROM events WHERE execution_id = executions.id)
                    AND replays.last >= (SELECT min(position) FROM events WHERE execution_id = executions.id))
ORDER BY completed_at, id
LIMIT $4;

-- name: replays_under_way
SELECT organization_id, first, last, position FROM replays WHERE completed_at IS NULL;

-- name: ended_versions
SELECT id, version FROM executions
WHERE status IN ('completed', 'failed', 'cancelled', 'terminated') AND id = ANY ($1::text[]);

-- name: awaited
-- Of some executions, those with a delivery that has not ended, between two positions.
SELECT DISTINCT execution_id
FROM deliveries JOIN events USING (position)
WHERE deliveries.due_at IS NOT NULL AND position BETWEEN $1 AND $2 AND execution_id = ANY ($3::text[]);

-- name: of_execution
-- Its own and its tasks'; what others say of it is theirs.
SELECT {all} FROM events
WHERE execution_id = $1 AND (stream = 'execution:' || execution_id OR left(stream, 5) = 'task:')
ORDER BY position;

-- name: blank_executions
UPDATE events SET data = ''
WHERE execution_id = ANY ($1::text[]) AND (stream = 'execution:' || execution_id OR left(stream, 5) = 'task:');

-- name: drop_deliveries
-- And their attempts.
WITH dropped AS (
    DELETE FROM deliveries
    WHERE due_at IS NULL AND event_id = ANY (ARRAY(
        SELECT id FROM events
        WHERE execution_id = ANY ($1::text[])
          AND (stream = 'execution:' || execution_id OR left(stream, 5) = 'task:')
    ))
    RETURNING id
)
DELETE FROM attempts WHERE delivery_id = ANY (ARRAY(SELECT id FROM dropped));

-- name: drop_tasks
DELETE FROM tasks WHERE execution_id = ANY ($1::text[]);

-- name: drop_executions
DELETE FROM executions WHERE id = ANY ($1::text[]);

-- name: drop_components
DELETE FROM components WHERE execution_id = ANY ($1::text[]);

-- name: archived
SELECT {columns} FROM archived_executions WHERE execution_id = $1;

-- name: is_lost
-- Of an organization, or of one execution or workflow of it; null for any.
SELECT EXISTS (
    SELECT 1 FROM archived_executions
    WHERE organization_id = $1
      AND last_position > $2
      AND ($3::text IS NULL OR execution_id = $3)
      AND ($4::text IS NULL OR workflow_id = $4)
);

-- name: touch
INSERT INTO key_use (id, used_at) SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT (id) DO UPDATE SET used_at = greatest(key_use.used_at, excluded.used_at);

-- name: last_used
SELECT id, used_at FROM key_use WHERE id = ANY ($1::text[]);

-- name: checkpoint
SELECT position FROM checkpoints WHERE name = $1;

-- name: set_checkpoint
INSERT INTO checkpoints (name, position) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET position = excluded.position;

-- name: move_checkpoint
-- From where the caller saw it; the first time from 0. Answers a row where it was there.
INSERT INTO checkpoints (name, position) SELECT $1, $3 WHERE $2 = 0 OR EXISTS (SELECT 1 FROM checkpoints WHERE name = $1)
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE checkpoints.position = $2
RETURNING true;

-- name: claim_lock
-- One claim of a shard at a time: order and limits are decided on what all before it have taken.
SELECT pg_advisory_xact_lock(1918987876, $1::integer);

-- name: due_endpoints
-- Endpoints of a shard that have anything due: one seek to each that has anything at all.
WITH RECURSIVE waiting (id) AS (
    (SELECT webhook_id FROM deliveries WHERE shard = $1 AND due_at IS NOT NULL ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (SELECT webhook_id FROM deliveries
            WHERE shard = $1 AND webhook_id > waiting.id AND due_at IS NOT NULL ORDER BY webhook_id LIMIT 1)
    FROM waiting WHERE waiting.id IS NOT NULL
)
SELECT id FROM waiting
WHERE id IS NOT NULL
  AND EXISTS (SELECT 1 FROM deliveries WHERE shard = $1 AND webhook_id = waiting.id AND due_at <= $2);

-- name: under_way
-- How many of each endpoint's deliveries are being sent, and until when its rate is spent.
SELECT wanted.id,
       (SELECT count(*) FROM deliveries
        WHERE webhook_id = wanted.id AND status = 'in_flight' AND due_at > $2),
       (SELECT paced_until FROM endpoint_states WHERE webhook_id = wanted.id)
FROM unnest($1::text[]) AS wanted (id);

-- name: due_of_endpoints
-- Of each endpoint as many as it has room for: what was never tried (1), in the log's order, and what is due again (2),
-- by when it came due. What is replayed (3) goes one at a time, one replay after another: what is being sent is not due.
SELECT wanted.id, due.kind, due.id, due.since, due.position
FROM unnest($1::text[], $2::bigint[]) AS wanted (id, free)
CROSS JOIN LATERAL (
    (SELECT 1 AS kind, id, coalesce(next_attempt_at, created_at) AS since, position FROM deliveries
     WHERE shard = $4 AND webhook_id = wanted.id AND due_at = '' AND coalesce(position, 0) <= $5
       AND replay_id IS NULL
     ORDER BY due_at, position NULLS FIRST, id
     LIMIT wanted.free)
    UNION ALL
    (SELECT 2 AS kind, id, due_at AS since, position FROM deliveries
     WHERE shard = $4 AND webhook_id = wanted.id AND due_at > '' AND due_at <= $3 AND coalesce(position, 0) <= $5
       AND replay_id IS NULL
     ORDER BY due_at, position NULLS FIRST, id
     LIMIT wanted.free)
    UNION ALL
    (SELECT 3 AS kind, id, coalesce(next_attempt_at, created_at) AS since, position
     FROM (
        SELECT id, due_at, next_attempt_at, created_at, position FROM deliveries
        WHERE webhook_id = wanted.id AND due_at IS NOT NULL AND replay_id IS NOT NULL
        ORDER BY replay_id NULLS FIRST, position NULLS FIRST, id
        LIMIT 1
     ) AS oldest
     WHERE due_at <= $3 AND coalesce(position, 0) <= $5)
) AS due;

-- name: due_in_order
-- Of each endpoint the oldest that has not ended, if it is due: of what is live, else of what is replayed, one replay
-- after another. The order names the column that is null, or else not, so that the index gives it.
SELECT wanted.id, next.turn, next.id, next.since, next.position
FROM unnest($1::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT oldest.turn, oldest.id, coalesce(oldest.next_attempt_at, oldest.created_at) AS since, oldest.position
    FROM (
        (SELECT 1 AS turn, id, due_at, next_attempt_at, created_at, position FROM deliveries
         WHERE webhook_id = wanted.id AND due_at IS NOT NULL AND replay_id IS NULL
         ORDER BY replay_id NULLS FIRST, position NULLS FIRST, id
         LIMIT 1)
        UNION ALL
        (SELECT 3 AS turn, id, due_at, next_attempt_at, created_at, position FROM deliveries
         WHERE webhook_id = wanted.id AND due_at IS NOT NULL AND replay_id IS NOT NULL
         ORDER BY replay_id NULLS FIRST, position NULLS FIRST, id
         LIMIT 1)
    ) AS oldest
    WHERE oldest.due_at <= $2 AND coalesce(oldest.position, 0) <= $3
    ORDER BY oldest.turn
    LIMIT 1
) AS next;

-- name: take
-- What was settled, cancelled or prolonged since it was looked up is not due any more.
UPDATE deliveries
SET status = 'in_flight', attempt_count = attempt_count + 1, lease_until = $2, due_at = $2, next_attempt_at = NULL
WHERE id = ANY ($1::text[]) AND due_at <= $3
RETURNING {columns};

-- name: settle
-- An end that comes after a cancellation is the truth; a retry after one is not wanted any more.
UPDATE deliveries
SET status = settled.status,
    next_attempt_at = settled.next_attempt_at,
    completed_at = settled.completed_at,
    due_at = settled.next_attempt_at,
    lease_until = NULL
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[])
    AS settled (id, attempt, status, next_attempt_at, completed_at)
WHERE deliveries.id = settled.id
  AND deliveries.attempt_count = settled.attempt
  AND (deliveries.status = 'in_flight'
       OR deliveries.status = 'cancelled' AND settled.status IN ('succeeded', 'exhausted'));

-- name: renew
-- Who holds a delivery is known by the number of its attempt.
UPDATE deliveries SET lease_until = $3, due_at = $3
FROM unnest($1::text[], $2::bigint[]) AS held (id, attempt)
WHERE deliveries.id = held.id AND deliveries.attempt_count = held.attempt AND deliveries.status = 'in_flight';

-- name: release
UPDATE deliveries
SET status = CASE WHEN attempt_count > 1 THEN 'retrying' ELSE 'pending' END,
    attempt_count = attempt_count - 1,
    next_attempt_at = $3,
    due_at = CASE WHEN attempt_count > 1 THEN $3 ELSE '' END,
    lease_until = NULL
FROM unnest($1::text[], $2::bigint[]) AS held (id, attempt)
WHERE deliveries.id = held.id AND deliveries.attempt_count = held.attempt AND deliveries.status = 'in_flight';

-- name: drop
UPDATE deliveries
SET status = 'cancelled', completed_at = $3, next_attempt_at = NULL, lease_until = NULL, due_at = NULL
FROM unnest($1::text[], $2::bigint[]) AS held (id, attempt)
WHERE deliveries.id = held.id AND deliveries.attempt_count = held.attempt AND deliveries.status = 'in_flight';

-- name: release_all
-- The attempt stays counted: it may have arrived. As one whose lease ran out, it is due and in flight.
UPDATE deliveries SET due_at = $1, lease_until = $1 WHERE status = 'in_flight';

-- name: release_stray
UPDATE deliveries SET due_at = $1, lease_until = $1 WHERE status = 'in_flight' AND due_at > $2;

-- name: backlog
SELECT count(*), min(since) FROM (
    SELECT CASE due_at WHEN '' THEN created_at ELSE due_at END AS since
    FROM deliveries WHERE due_at <= $1 LIMIT $2
) AS due;

-- name: endpoint_state
SELECT {columns} FROM endpoint_states WHERE webhook_id = $1;

-- name: endpoints_failing
SELECT {columns} FROM endpoint_states WHERE failing_since <= $1 AND last_failure_at > $1;

-- name: endpoint_forgive
UPDATE endpoint_states SET failing_since = NULL WHERE webhook_id = $1;

-- name: pace
INSERT INTO endpoint_states (webhook_id, paced_until) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (webhook_id) DO UPDATE SET paced_until = excluded.paced_until;

-- name: answered
-- Failing since the first failure after the last success.
INSERT INTO endpoint_states (webhook_id, last_success_at, last_failure_at, failing_since)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT (webhook_id) DO UPDATE
SET last_success_at = coalesce(excluded.last_success_at, endpoint_states.last_success_at),
    last_failure_at = coalesce(excluded.last_failure_at, endpoint_states.last_failure_at),
    failing_since = CASE WHEN excluded.last_success_at IS NULL
        THEN coalesce(endpoint_states.failing_since, excluded.failing_since) ELSE excluded.failing_since END;

-- name: count_attempts
INSERT INTO attempt_counts (webhook_id, hour, outcome, bucket, attempts)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (webhook_id, hour, outcome, bucket) DO UPDATE
SET attempts = attempt_counts.attempts + excluded.attempts;

-- name: cancel_waiting
UPDATE deliveries
SET status = 'cancelled', completed_at = $2, next_attempt_at = NULL, lease_until = NULL, due_at = NULL
WHERE id = ANY (ARRAY(
    SELECT id FROM deliveries
    WHERE webhook_id = $1 AND due_at IS NOT NULL AND (
        $3::bigint IS NULL
        OR replay_id IS NULL AND (position <= $3 OR position IS NULL AND created_at <= $4::text)
    )
    LIMIT $5
)) AND due_at IS NOT NULL;

-- name: resend
-- All attempts before are forgiven. What is being sent is left alone.
UPDATE deliveries
SET status = 'pending', forgiven = attempt_count, next_attempt_at = $2, completed_at = NULL, lease_until = NULL,
    due_at = ''
WHERE id = $1 AND status <> 'in_flight'
RETURNING {columns};

-- name: cancel
UPDATE deliveries
SET status = 'cancelled', completed_at = $2, next_attempt_at = NULL, due_at = NULL
WHERE id = ANY ($1::text[]) AND status IN ('pending', 'retrying');

-- name: counts
SELECT outcome, bucket, sum(attempts)::bigint FROM attempt_counts WHERE webhook_id = $1 AND hour >= $2
GROUP BY outcome, bucket ORDER BY outcome, bucket;

-- name: counts_sweep
DELETE FROM attempt_counts WHERE hour < $1;

-- name: endpoint_backlog
-- The oldest first, as the index has them: so the oldest of all is among those that are counted.
SELECT count(*), min(created_at) FROM (
    SELECT created_at FROM deliveries WHERE webhook_id = $1 AND due_at IS NOT NULL
    ORDER BY replay_id NULLS FIRST, position NULLS FIRST, id LIMIT $2
) AS waiting;

-- name: next_due
SELECT min(due_at) FROM deliveries WHERE shard = $1 AND due_at IS NOT NULL;

-- name: delivery
SELECT {columns} FROM deliveries WHERE id = $1;

-- name: replay
SELECT {columns} FROM replays WHERE id = $1;

-- name: replays_open
SELECT {columns} FROM replays WHERE completed_at IS NULL ORDER BY id;

-- name: replay_advance
UPDATE replays SET status = 'running', position = $3, processed = processed + $4
WHERE id = $1 AND position = $2 AND completed_at IS NULL
RETURNING true;

-- name: replay_count
UPDATE replays SET processed = processed + $2 WHERE id = $1;

-- name: replay_end
-- What waits is cancelled with it, and so was not processed.
UPDATE replays
SET status = $2, completed_at = $3, error = $4,
    processed = processed - (SELECT count(*) FROM deliveries WHERE replay_id = $1 AND due_at IS NOT NULL)
WHERE id = $1 AND completed_at IS NULL
RETURNING true;

-- name: replay_waiting
SELECT count(*) FROM deliveries WHERE replay_id = $1 AND due_at IS NOT NULL;

-- name: replay_cancel_waiting
UPDATE deliveries
SET status = 'cancelled', completed_at = $2, next_attempt_at = NULL, lease_until = NULL, due_at = NULL
WHERE replay_id = $1 AND due_at IS NOT NULL;

-- name: attempts
SELECT {columns}
FROM attempts WHERE delivery_id = ANY ($1::text[]) ORDER BY delivery_id, attempt;

-- name: fold
SELECT version, state FROM folds WHERE stream = $1 AND revision = $2;

-- name: fold_keep
INSERT INTO folds (stream, version, revision, state) VALUES ($1, $2, $3, $4)
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, revision = excluded.revision, state = excluded.state
WHERE excluded.version > folds.version OR excluded.revision <> folds.revision;

-- name: drop_folds
DELETE FROM folds WHERE stream = ANY ($1::text[]);

-- name: answers_expire
DELETE FROM first_answers WHERE expires_at <= $1;

-- name: answer_begin
-- Changes a row where the key is new, or was begun too long ago and never answered.
INSERT INTO first_answers (organization_id, key, fingerprint, began_at, expires_at, status, sealed)
VALUES ($1, $2, $3, $4, $5, NULL, '')
ON CONFLICT (organization_id, key)
DO UPDATE SET fingerprint = excluded.fingerprint, began_at = excluded.began_at, expires_at = excluded.expires_at
WHERE first_answers.status IS NULL AND first_answers.began_at < $6
RETURNING true;

-- name: answer
SELECT fingerprint, status, sealed FROM first_answers WHERE organization_id = $1 AND key = $2;

-- name: answer_finish
UPDATE first_answers SET status = $3, sealed = $4 WHERE organization_id = $1 AND key = $2;

-- name: answer_drop
DELETE FROM first_answers WHERE organization_id = $1 AND key = $2;
