-- name: head
-- The end of the chain. `sqlite_sequence` remembers positions whose events were deleted.
SELECT position, time, hash FROM events ORDER BY position DESC LIMIT 1;

-- name: last_given
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0);

-- name: by_id
SELECT {columns} FROM events WHERE id IN ({values});

-- name: versions
-- The highest version of each stream: one seek in the index of (stream, version).
SELECT wanted.column1, (SELECT max(version) FROM events WHERE stream = wanted.column1)
FROM (VALUES {rows}) AS wanted;

-- name: holders
SELECT name, stream FROM names WHERE name IN ({values});

-- name: free_names
DELETE FROM names WHERE name IN ({values});

-- name: at
SELECT {columns} FROM events WHERE position = ?;

-- name: stream
SELECT {columns} FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?;

-- name: stream_to
SELECT {columns} FROM events WHERE stream = ? AND version <= ? ORDER BY version;

-- name: page
SELECT {columns} FROM events WHERE position > ? ORDER BY position LIMIT ?;

-- name: scan
SELECT {all} FROM events WHERE position > ? ORDER BY position LIMIT ?;

-- name: raw
SELECT {all} FROM events WHERE position > ? AND position <= ? ORDER BY position;

-- name: link_at
SELECT position, time, hash FROM events WHERE position = ?;

-- name: last_position
SELECT coalesce(max(position), 0) FROM events;

-- name: time_at
-- The first event at a position or after it: positions are dense unless somebody deleted some.
SELECT position, time FROM events WHERE position >= ? ORDER BY position LIMIT 1;

-- name: types
-- Every type there is in the log: one seek each.
WITH RECURSIVE found (type) AS (
    SELECT min(type) FROM events
    UNION ALL
    SELECT (SELECT min(type) FROM events WHERE type > found.type) FROM found WHERE found.type IS NOT NULL
)
SELECT type FROM found WHERE type IS NOT NULL;

-- name: get_meta
SELECT value FROM meta WHERE key = ?;

-- name: set_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: drop_meta
DELETE FROM meta WHERE key = ?;

-- name: marks
SELECT key, value FROM meta WHERE key IN ({values});

-- name: border
-- From the index of (stream, version) alone.
SELECT stream FROM events WHERE stream > ? ORDER BY stream, version LIMIT 1 OFFSET ?;

-- name: standing
-- The version of each stream, -1 where its data was archived; one seek in the index of (stream, version).
SELECT wanted.column1,
       (SELECT iif(length(data), version, -1) FROM events WHERE stream = wanted.column1 ORDER BY version DESC LIMIT 1)
FROM (VALUES {rows}) AS wanted;

-- name: notes
SELECT substr(key, length(?1) + 1), value FROM meta WHERE substr(key, 1, length(?1)) = ?1;

-- name: execution_stats
-- From the indexes of (workflow_id, status, created_at) alone. What was archived still counts.
WITH runs AS (
    SELECT workflow_id, status, created_at FROM executions
    UNION ALL
    SELECT workflow_id, status, created_at FROM archived_executions
)
SELECT workflow_id,
       count(*),
       sum(status IN ('completed', 'failed', 'cancelled', 'terminated')),
       sum(status = 'completed'),
       max(created_at)
FROM runs
WHERE workflow_id IN ({values})
GROUP BY workflow_id;

-- name: claimable
-- The last parameter but one is the time by which engines live.
SELECT id, engine, priority FROM (
    SELECT id, engine, priority FROM executions WHERE runnable_at <= ?1 AND is_in_queue = 0
    UNION ALL
    SELECT id, engine, 11 FROM executions WHERE queue_deadline <= ?1 AND is_in_queue = 1
)
WHERE engine IS NULL OR NOT EXISTS (SELECT 1 FROM engines WHERE engines.id = engine AND engines.expires_at > ?2)
ORDER BY priority DESC, id
LIMIT ?3;

-- name: next_runnable_at
SELECT min(at) FROM (
    SELECT min(runnable_at) AS at FROM executions WHERE runnable_at > ?1 AND is_in_queue = 0
    UNION ALL
    SELECT min(runnable_at) FROM executions WHERE runnable_at > ?1 AND is_in_queue = 1
    UNION ALL
    SELECT min(queue_deadline) FROM executions WHERE queue_deadline > ?1 AND is_in_queue = 1
);

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
WHERE organization_id = ? AND is_holding = 1 AND (slot IS NOT NULL OR concurrency_slot IS NOT NULL);

-- name: in_queue
-- Those whose time has come; but for those whose key has no place left.
SELECT id, priority, concurrency_key, concurrency_limit
FROM executions
WHERE organization_id = ?1 AND is_in_queue = 1 AND runnable_at <= ?2
  AND (concurrency_key IS NULL OR concurrency_key NOT IN (
      SELECT concurrency_key FROM executions
      WHERE organization_id = ?1 AND is_holding = 1 AND concurrency_key IS NOT NULL
      GROUP BY concurrency_key HAVING count(*) >= max(concurrency_limit)))
ORDER BY priority DESC, id
LIMIT ?3;

-- name: recent_durations
SELECT started_at, completed_at FROM executions
WHERE workflow_id = ? AND status = 'completed'
ORDER BY created_at DESC
LIMIT ?;

-- name: engine_beat
INSERT INTO engines (id, expires_at) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at;

-- name: engines_alive
SELECT count(*) FROM engines WHERE expires_at > ?;

-- name: engine_leave
DELETE FROM engines WHERE id = ?;

-- name: engine_leave_all
DELETE FROM engines;

-- name: lease_take
-- Changes a row where the lease is free, has run out, or is the holder's already. Now comes last.
INSERT INTO leases (name, holder, expires_at) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE leases.holder = excluded.holder OR leases.expires_at <= ?4;

-- name: lease_drop
DELETE FROM leases WHERE name = ? AND holder = ?;

-- name: tasks_to_claim
-- Of one type. Now comes third.
SELECT priority, created_at, id FROM tasks
WHERE organization_id = ?1 AND claimable_type = ?2
  AND NOT EXISTS (SELECT 1 FROM task_leases WHERE task_id = tasks.id AND expires_at > ?3)
ORDER BY priority DESC, created_at, id LIMIT ?4;

-- name: task_lease_take
-- Changes a row where nobody has the task, or the lease has run out. Now comes last.
INSERT INTO task_leases (task_id, worker_id, lease_id, expires_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (task_id) DO UPDATE
SET worker_id = excluded.worker_id, lease_id = excluded.lease_id, expires_at = excluded.expires_at
WHERE task_leases.expires_at <= ?5;

-- name: task_lease_renew
-- One that has run out is lost, whether anybody has noticed or not. Now comes last.
UPDATE task_leases SET expires_at = ?3 WHERE task_id = ?1 AND worker_id = ?2 AND expires_at > ?4;

-- name: task_lease_drop
DELETE FROM task_leases WHERE task_id = ? AND lease_id = ?;

-- name: task_leases_expired
SELECT task_id, worker_id, lease_id FROM task_leases WHERE expires_at <= ? ORDER BY expires_at LIMIT ?;

-- name: tasks_without_lease
SELECT id, version FROM tasks
WHERE kind = 'external' AND status = 'running'
  AND NOT EXISTS (SELECT 1 FROM task_leases WHERE task_id = tasks.id)
ORDER BY id LIMIT ?;

-- name: organization
SELECT id, name, sealed_key, created_at, plan, own_runs_at_once FROM organizations WHERE id = ?;

-- name: organization_by_name
SELECT id, name, sealed_key, created_at, plan, own_runs_at_once FROM organizations WHERE name = ?;

-- name: organization_add
INSERT INTO organizations (id, name, sealed_key, created_at, plan, own_runs_at_once) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: organizations
SELECT id, name, sealed_key, created_at, plan, own_runs_at_once FROM organizations ORDER BY name;

-- name: organization_set_plan
UPDATE organizations SET plan = ?2, own_runs_at_once = ?3 WHERE id = ?1;

-- name: organization_replace_key
UPDATE organizations SET sealed_key = ?3 WHERE id = ?1 AND sealed_key = ?2;

-- name: ended
-- Executions that ended before a time (the first parameter) and after a key, and that no delivery and no replay
-- waits for.
SELECT id, organization_id, workflow_id, status, created_at, completed_at, version
FROM executions
WHERE completed_at < ?1
  AND (completed_at, id) > (?2, ?3)
  AND status IN ('completed', 'failed', 'cancelled', 'terminated')
  AND (SELECT max(position) FROM events WHERE execution_id = executions.id)
      <= (SELECT position FROM checkpoints WHERE name = 'fanout')
  AND id NOT IN (SELECT execution_id FROM deliveries JOIN events ON events.position = deliveries.position
                 WHERE deliveries.due_at IS NOT NULL AND execution_id IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM replays
                  WHERE replays.completed_at IS NULL
                    AND replays.organization_id = executions.organization_id
                    AND max(replays.first, replays.position + 1)
                        <= (SELECT max(position) FROM events WHERE execution_id = executions.id)
                    AND replays.last >= (SELECT min(position) FROM events WHERE execution_id = executions.id))
ORDER BY completed_at, id
LIMIT ?4;

-- name: replays_under_way
SELECT organization_id, first, last, position FROM replays WHERE completed_at IS NULL;

-- name: ended_versions
SELECT id, version FROM executions
WHERE status IN ('completed', 'failed', 'cancelled', 'terminated') AND id IN ({values});

-- name: awaited
-- Of some executions, those with a delivery that has not ended, between two positions. The positions come first.
-- `CROSS JOIN` keeps the few deliveries in front.
SELECT DISTINCT execution_id
FROM deliveries CROSS JOIN events
WHERE deliveries.due_at IS NOT NULL
  AND deliveries.position BETWEEN ? AND ?
  AND events.position = deliveries.position
  AND execution_id IN ({values});

-- name: of_execution
-- Its own and its tasks'; what others say of it is theirs.
SELECT {all} FROM events
WHERE execution_id = ?1 AND (stream = 'execution:' || ?1 OR substr(stream, 1, 5) = 'task:')
ORDER BY position;

-- name: blank_executions
UPDATE events SET data = x''
WHERE execution_id IN ({values}) AND (stream = 'execution:' || execution_id OR substr(stream, 1, 5) = 'task:');

-- name: drop_attempts
-- Those of the deliveries that are dropped next.
DELETE FROM attempts WHERE delivery_id IN (
    SELECT id FROM deliveries WHERE due_at IS NULL AND event_id IN (
        SELECT id FROM events
        WHERE execution_id IN ({values}) AND (stream = 'execution:' || execution_id OR substr(stream, 1, 5) = 'task:')
    )
);

-- name: drop_deliveries
DELETE FROM deliveries WHERE due_at IS NULL AND event_id IN (
    SELECT id FROM events
    WHERE execution_id IN ({values}) AND (stream = 'execution:' || execution_id OR substr(stream, 1, 5) = 'task:')
);

-- name: drop_tasks
DELETE FROM tasks WHERE execution_id IN ({values});

-- name: drop_executions
DELETE FROM executions WHERE id IN ({values});

-- name: drop_components
DELETE FROM components WHERE execution_id IN ({values});

-- name: archived
SELECT {columns} FROM archived_executions WHERE execution_id = ?;

-- name: lost_of_execution
SELECT EXISTS (SELECT 1 FROM archived_executions
               WHERE organization_id = ? AND last_position > ? AND execution_id = ?);

-- name: lost_of_workflow
SELECT EXISTS (SELECT 1 FROM archived_executions
               WHERE organization_id = ? AND last_position > ? AND workflow_id = ?);

-- name: lost
SELECT EXISTS (SELECT 1 FROM archived_executions WHERE organization_id = ? AND last_position > ?);

-- name: last_used
SELECT id, used_at FROM key_use WHERE id IN ({values});

-- name: checkpoint
SELECT position FROM checkpoints WHERE name = ?;

-- name: set_checkpoint
INSERT INTO checkpoints (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position;

-- name: due_endpoints
-- Endpoints of a shard that have anything due: one seek to each that has anything at all.
WITH RECURSIVE waiting (id) AS (
    SELECT min(webhook_id) FROM deliveries WHERE shard = ?1 AND due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(webhook_id) FROM deliveries
            WHERE shard = ?1 AND webhook_id > waiting.id AND due_at IS NOT NULL)
    FROM waiting WHERE waiting.id IS NOT NULL
)
SELECT id FROM waiting
WHERE id IS NOT NULL
  AND EXISTS (SELECT 1 FROM deliveries WHERE shard = ?1 AND webhook_id = waiting.id AND due_at <= ?2);

-- name: in_flight
-- How many of an endpoint's deliveries are being sent.
SELECT count(*) FROM deliveries WHERE webhook_id = ? AND status = 'in_flight' AND due_at > ?;

-- name: due_of_endpoint
-- What is live: what was never tried (1), in the log's order, and what is due again (2), by when it came due.
SELECT * FROM (
    SELECT 1, id, coalesce(next_attempt_at, created_at), position FROM deliveries
    WHERE shard = ?1 AND webhook_id = ?2 AND due_at = '' AND coalesce(position, 0) <= ?4 AND replay_id IS NULL
    ORDER BY position, id
    LIMIT ?5
)
UNION ALL
SELECT * FROM (
    SELECT 2, id, due_at, position FROM deliveries
    WHERE shard = ?1 AND webhook_id = ?2 AND due_at > '' AND due_at <= ?3 AND coalesce(position, 0) <= ?4
      AND replay_id IS NULL
    ORDER BY due_at, position, id
    LIMIT ?5
);

-- name: due_in_order
-- The oldest that has not ended, if it is due; what is replayed has an order of its own.
SELECT 1, id, since, position FROM (
    SELECT id, due_at, coalesce(next_attempt_at, created_at) AS since, position FROM deliveries
    WHERE webhook_id = ? AND due_at IS NOT NULL AND replay_id IS NULL
    ORDER BY position, id
    LIMIT 1
) WHERE due_at <= ? AND coalesce(position, 0) <= ?;

-- name: replayed_due_in_order
-- The same of what is replayed (3): one replay after another. What is being sent is not due, so that it is one at a
-- time.
SELECT 3, id, since, position FROM (
    SELECT id, due_at, coalesce(next_attempt_at, created_at) AS since, position FROM deliveries
    WHERE webhook_id = ? AND due_at IS NOT NULL AND replay_id IS NOT NULL
    ORDER BY replay_id, position, id
    LIMIT 1
) WHERE due_at <= ? AND coalesce(position, 0) <= ?;

-- name: paced_until
SELECT paced_until FROM endpoint_states WHERE webhook_id = ?;

-- name: take
-- What was cancelled or prolonged since it was looked up is not due any more.
UPDATE deliveries
SET status = 'in_flight', attempt_count = attempt_count + 1, lease_until = ?1, due_at = ?1, next_attempt_at = NULL
WHERE due_at <= ?2 AND id IN ({values})
RETURNING {columns};

-- name: deliveries_in
SELECT {columns} FROM deliveries WHERE id IN ({values});

-- name: settle
-- An end that comes after a cancellation is the truth; a retry after one is not wanted any more.
UPDATE deliveries
SET status = settled.column3,
    next_attempt_at = settled.column4,
    completed_at = settled.column5,
    due_at = settled.column4,
    lease_until = NULL
FROM (VALUES {rows}) AS settled
WHERE deliveries.id = settled.column1
  AND deliveries.attempt_count = settled.column2
  AND (deliveries.status = 'in_flight'
       OR deliveries.status = 'cancelled' AND settled.column3 IN ('succeeded', 'exhausted'));

-- name: renew
-- Who holds a delivery is known by the number of its attempt.
UPDATE deliveries SET lease_until = ?1, due_at = ?1
FROM (VALUES {rows}) AS held
WHERE deliveries.id = held.column1 AND deliveries.attempt_count = held.column2 AND deliveries.status = 'in_flight';

-- name: release
UPDATE deliveries
SET status = iif(attempt_count > 1, 'retrying', 'pending'),
    attempt_count = attempt_count - 1,
    next_attempt_at = ?1,
    due_at = iif(attempt_count > 1, ?1, ''),
    lease_until = NULL
FROM (VALUES {rows}) AS held
WHERE deliveries.id = held.column1 AND deliveries.attempt_count = held.column2 AND deliveries.status = 'in_flight';

-- name: drop
UPDATE deliveries
SET status = 'cancelled', completed_at = ?1, next_attempt_at = NULL, lease_until = NULL, due_at = NULL
FROM (VALUES {rows}) AS held
WHERE deliveries.id = held.column1 AND deliveries.attempt_count = held.column2 AND deliveries.status = 'in_flight';

-- name: release_all
-- The attempt stays counted: it may have arrived. As one whose lease ran out, it is due and in flight.
UPDATE deliveries SET due_at = ?1, lease_until = ?1 WHERE status = 'in_flight';

-- name: release_stray
UPDATE deliveries INDEXED BY deliveries_in_flight SET due_at = ?1, lease_until = ?1
WHERE status = 'in_flight' AND due_at > ?2;

-- name: backlog
SELECT count(*), min(since) FROM (
    SELECT CASE due_at WHEN '' THEN created_at ELSE due_at END AS since
    FROM deliveries WHERE due_at <= ?1 LIMIT ?2
);

-- name: endpoint_state
SELECT {columns} FROM endpoint_states WHERE webhook_id = ?;

-- name: endpoints_failing
SELECT {columns} FROM endpoint_states WHERE failing_since <= ?1 AND last_failure_at > ?1;

-- name: endpoint_forgive
UPDATE endpoint_states SET failing_since = NULL WHERE webhook_id = ?;

-- name: cancel_waiting
UPDATE deliveries
SET status = 'cancelled', completed_at = ?2, next_attempt_at = NULL, lease_until = NULL, due_at = NULL
WHERE id IN (
    SELECT id FROM deliveries
    WHERE webhook_id = ?1 AND due_at IS NOT NULL AND (
        ?3 IS NULL OR replay_id IS NULL AND (position <= ?3 OR position IS NULL AND created_at <= ?4)
    )
    LIMIT ?5
);

-- name: resend
-- All attempts before are forgiven. What is being sent is left alone.
UPDATE deliveries
SET status = 'pending', forgiven = attempt_count, next_attempt_at = ?2, completed_at = NULL, lease_until = NULL,
    due_at = ''
WHERE id = ?1 AND status <> 'in_flight'
RETURNING {columns};

-- name: cancel
UPDATE deliveries
SET status = 'cancelled', completed_at = ?1, next_attempt_at = NULL, due_at = NULL
WHERE id IN ({values}) AND status IN ('pending', 'retrying')
RETURNING id;

-- name: counts
SELECT outcome, bucket, sum(attempts) FROM attempt_counts WHERE webhook_id = ?1 AND hour >= ?2
GROUP BY outcome, bucket ORDER BY outcome, bucket;

-- name: counts_sweep
DELETE FROM attempt_counts WHERE hour < ?1;

-- name: endpoint_backlog
-- The oldest first, as the index has them: so the oldest of all is among those that are counted.
SELECT count(*), min(created_at) FROM (
    SELECT created_at FROM deliveries WHERE webhook_id = ?1 AND due_at IS NOT NULL
    ORDER BY replay_id, position, id LIMIT ?2
) AS waiting;

-- name: next_due
SELECT min(due_at) FROM deliveries WHERE shard = ? AND due_at IS NOT NULL;

-- name: replay
SELECT {columns} FROM replays WHERE id = ?;

-- name: replays_open
SELECT {columns} FROM replays WHERE completed_at IS NULL ORDER BY id;

-- name: replay_advance
UPDATE replays SET status = 'running', position = ?, processed = processed + ?
WHERE id = ? AND position = ? AND completed_at IS NULL;

-- name: replay_count
UPDATE replays SET processed = processed + ? WHERE id = ?;

-- name: replay_end
-- What waits is cancelled with it, and so was not processed.
UPDATE replays
SET status = ?, completed_at = ?, error = ?,
    processed = processed - (SELECT count(*) FROM deliveries WHERE replay_id = replays.id AND due_at IS NOT NULL)
WHERE id = ? AND completed_at IS NULL;

-- name: replay_waiting
SELECT count(*) FROM deliveries WHERE replay_id = ? AND due_at IS NOT NULL;

-- name: replay_cancel_waiting
UPDATE deliveries
SET status = 'cancelled', completed_at = ?, next_attempt_at = NULL, lease_until = NULL, due_at = NULL
WHERE replay_id = ? AND due_at IS NOT NULL;

-- name: attempts
SELECT {columns}
FROM attempts WHERE delivery_id IN ({values}) ORDER BY delivery_id, attempt;

-- name: fold
SELECT version, state FROM folds WHERE stream = ? AND revision = ?;

-- name: fold_keep
INSERT INTO folds (stream, version, revision, state) VALUES (?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, revision = excluded.revision, state = excluded.state
WHERE excluded.version > folds.version OR excluded.revision <> folds.revision;

-- name: drop_folds
DELETE FROM folds WHERE stream IN ({values});

-- name: answers_expire
DELETE FROM first_answers WHERE expires_at <= ?1;

-- name: answer_begin
-- Changes a row where the key is new, or was begun too long ago and never answered.
INSERT INTO first_answers (organization_id, key, fingerprint, began_at, expires_at, status, sealed)
VALUES (?1, ?2, ?3, ?4, ?5, NULL, '')
ON CONFLICT (organization_id, key)
DO UPDATE SET fingerprint = excluded.fingerprint, began_at = excluded.began_at, expires_at = excluded.expires_at
WHERE first_answers.status IS NULL AND first_answers.began_at < ?6;

-- name: answer
SELECT fingerprint, status, sealed FROM first_answers WHERE organization_id = ?1 AND key = ?2;

-- name: answer_finish
UPDATE first_answers SET status = ?3, sealed = ?4 WHERE organization_id = ?1 AND key = ?2;

-- name: answer_drop
DELETE FROM first_answers WHERE organization_id = ?1 AND key = ?2;
