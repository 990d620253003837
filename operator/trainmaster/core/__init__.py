"""The decisions of Trainmaster, as pure functions: what is seen and the time go in, what to do comes out.

`decide(snapshot, now)` works in four steps, for any snapshot, however stale or torn the way to it was:

1. *absorb* - take into status what jobs and reports say (`run.absorb`), and settle decisions that have come true;
2. *decide* - at most one change of course: a launch, the end of one, a clean-up, the end of the run (`run.course`);
   it is written into status as a decision (`journal`), and nothing is done about it yet;
3. *judge* - of a run that trains, detectors turn the series into findings (`health`), and the recovery policy turns
   those into corrections (`recovery`): decisions too;
4. *act* - the effects of those decisions that the snapshot's status already held (`run.effects`).

Absence proves nothing in a cache, and what a cache shows may be over: launches, their ends and all effects come from a
live snapshot only; from another one, `Result.look_live` asks for it.

So a decision is in etcd before anything happens because of it, a crash at any point resumes it from there, and every
effect is safe to repeat. Nothing here does I/O, reads a clock, rolls dice or logs.

To add a detector: one module in `health`, listed in `health.DETECTORS`, one table test beside its siblings.
"""

from trainmaster.core.run.decide import decide
from trainmaster.core.snapshot import Result, Snapshot

__all__ = ["Result", "Snapshot", "decide"]
