"""What the rooms need of each other, as protocols: the log, the rows, the ledgers, the clock.

`storage` implements them, `hub/wiring.py` hands them out, everybody else knows only this package.

A backend raises nothing of its driver's: only `Conflict`, `NameTaken`, `CheckpointMoved`, and `errors.Unavailable`.
"""

from executor.domain.aggregate import Aggregate as Aggregate
from executor.domain.aggregate import Row as Row
from executor.ports.agents import AgentsOf as AgentsOf
from executor.ports.agents import Callee as Callee
from executor.ports.agents import FindAgent as FindAgent
from executor.ports.copying import COPIED as COPIED
from executor.ports.copying import HELD as HELD
from executor.ports.copying import IMPORTING as IMPORTING
from executor.ports.copying import MARKS as MARKS
from executor.ports.copying import MOVED as MOVED
from executor.ports.copying import Copying as Copying
from executor.ports.copying import CopySource as CopySource
from executor.ports.deliveries import Attempt as Attempt
from executor.ports.deliveries import Backlog as Backlog
from executor.ports.deliveries import CheckpointMoved as CheckpointMoved
from executor.ports.deliveries import Claimed as Claimed
from executor.ports.deliveries import Deliveries as Deliveries
from executor.ports.deliveries import Delivery as Delivery
from executor.ports.deliveries import DeliveryQuery as DeliveryQuery
from executor.ports.deliveries import EndpointLimits as EndpointLimits
from executor.ports.deliveries import EndpointState as EndpointState
from executor.ports.deliveries import Settled as Settled
from executor.ports.deliveries import bucket_milliseconds as bucket_milliseconds
from executor.ports.deliveries import latency_bucket as latency_bucket
from executor.ports.ledgers import Engines as Engines
from executor.ports.ledgers import FirstAnswer as FirstAnswer
from executor.ports.ledgers import FirstAnswers as FirstAnswers
from executor.ports.ledgers import KeyUse as KeyUse
from executor.ports.ledgers import Leases as Leases
from executor.ports.ledgers import Organization as Organization
from executor.ports.ledgers import Organizations as Organizations
from executor.ports.ledgers import TaskLease as TaskLease
from executor.ports.ledgers import TaskLeases as TaskLeases
from executor.ports.log import NEW as NEW
from executor.ports.log import Appended as Appended
from executor.ports.log import Conflict as Conflict
from executor.ports.log import EventLog as EventLog
from executor.ports.log import EventQuery as EventQuery
from executor.ports.log import Metadata as Metadata
from executor.ports.log import NameTaken as NameTaken
from executor.ports.log import NewEvent as NewEvent
from executor.ports.log import Recorded as Recorded
from executor.ports.log import Stored as Stored
from executor.ports.log import StreamAppend as StreamAppend
from executor.ports.projections import NAMES as NAMES
from executor.ports.projections import Projections as Projections
from executor.ports.projections import Repair as Repair
from executor.ports.reads import Claimable as Claimable
from executor.ports.reads import Contains as Contains
from executor.ports.reads import Eq as Eq
from executor.ports.reads import ExecutionStats as ExecutionStats
from executor.ports.reads import HasAll as HasAll
from executor.ports.reads import In as In
from executor.ports.reads import Order as Order
from executor.ports.reads import Range as Range
from executor.ports.reads import Reads as Reads
from executor.ports.reads import RowQuery as RowQuery
from executor.ports.reads import Where as Where
from executor.ports.replays import Replay as Replay
from executor.ports.replays import ReplayQuery as ReplayQuery
from executor.ports.replays import Replays as Replays
from executor.ports.retention import Archived as Archived
from executor.ports.retention import Ended as Ended
from executor.ports.retention import Retention as Retention
from executor.ports.store import Clock as Clock
from executor.ports.store import Ledgers as Ledgers
from executor.ports.store import Store as Store
from executor.ports.workflows import FindWorkflow as FindWorkflow
from executor.ports.workflows import WorkflowsOf as WorkflowsOf
