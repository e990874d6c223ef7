"""What ``make mutations`` spoils, and which test must notice."""

import attrs

MATRIX = "component/test_cancellation_matrix.py"
ONE_OUTCOME = f"{MATRIX}::test_a_call_has_one_outcome_and_leaves_nothing"
CALLS = "component/test_engine_calls.py"
CONNECTIONS = "component/test_engine_connections.py"
REMOTE = "component/test_worker_remote.py"


@attrs.frozen
class Mutation:
    """One thing to spoil.

    Attributes:
        what: the promise that is broken.
        file: below ``iii_trio``.
        old: text that stands there exactly once.
        new: what it becomes.
        test: below ``tests``; must fail.
    """

    what: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        "the first outcome wins",
        "engine/_invocation.py",
        "        if invocation.outcome is not None:\n            return False\n",
        "",
        f"{ONE_OUTCOME}[link-local-callee answers]",
    ),
    Mutation(
        "a settled call leaves the table",
        "engine/_invocation.py",
        "        del self._entries[invocation.id]\n",
        "",
        f"{ONE_OUTCOME}[link-link-callee answers]",
    ),
    Mutation(
        "a settled call leaves its callee",
        "engine/_invocation.py",
        "        del invocation.callee.executing[invocation]\n",
        "",
        f"{MATRIX}::test_a_settled_call_is_forgotten_by_both_workers",
    ),
    Mutation(
        "a settled call leaves its caller",
        "engine/_invocation.py",
        "            del invocation.caller.made[invocation]\n",
        "            pass\n",
        f"{MATRIX}::test_a_settled_call_is_forgotten_by_both_workers",
    ),
    Mutation(
        "a settled call takes its timer away",
        "engine/_invocation.py",
        "            self._timers.cancel(invocation.timer)\n",
        "",
        f"{MATRIX}::test_a_settled_call_is_forgotten_by_both_workers",
    ),
    Mutation(
        "only the worker that runs a call answers it",
        "engine/_invocation.py",
        "if invocation is None or invocation.callee is not callee:",
        "if invocation is None:",
        f"{CALLS}::test_only_the_executor_may_answer_and_only_once",
    ),
    Mutation(
        "a deadline cancels the handler",
        "engine/_invocation.py",
        '            invocation.callee.abandon(invocation, "deadline passed")\n',
        "            pass\n",
        f"{ONE_OUTCOME}[local-local-deadline passed]",
    ),
    Mutation(
        "a call given up cancels the handler",
        "engine/_invocation.py",
        "            self._leave(invocation, STOPPED)\n"
        "            invocation.callee.abandon(invocation, reason)\n",
        "            self._leave(invocation, STOPPED)\n",
        f"{ONE_OUTCOME}[link-local-caller gone]",
    ),
    Mutation(
        "a drain ends what its grace leaves",
        "engine/_invocation.py",
        "        for invocation in self.pending():\n",
        "        for invocation in ():\n",
        f"{ONE_OUTCOME}[link-link-engine drained]",
    ),
    Mutation(
        "a local handler is cancelled by its scope",
        "engine/_ports.py",
        "            invocation.scope.cancel(reason=reason)\n",
        "            pass\n",
        f"{ONE_OUTCOME}[link-local-call cancelled]",
    ),
    Mutation(
        "a cancelled local caller gives its call up",
        "engine/_ports.py",
        '        invocations.cancel(invocation, "the caller was cancelled")\n',
        "",
        f"{ONE_OUTCOME}[local-link-call cancelled]",
    ),
    Mutation(
        "only peers that announced it hear of a cancel",
        "engine/_link_port.py",
        "        if self.cancels and self.is_live:\n",
        "        if self.is_live:\n",
        f"{MATRIX}::test_nothing_new_is_sent_to_a_peer_that_did_not_announce_it",
    ),
    Mutation(
        "only peers that announced it get a deadline",
        "engine/_link_port.py",
        "if invocation.timer is not None and self.cancels:",
        "if invocation.timer is not None:",
        f"{MATRIX}::test_nothing_new_is_sent_to_a_peer_that_did_not_announce_it",
    ),
    Mutation(
        "a deadline is what is left, not what was given",
        "engine/_link_port.py",
        "            left = invocation.deadline - trio.current_time()\n",
        "            left = invocation.timeout * 2\n",
        f"{MATRIX}::test_a_deadline_shrinks_along_a_chain_of_calls",
    ),
    Mutation(
        "a worker that vanishes settles the calls to it",
        "engine/_supervisor.py",
        "        self._invocations.callee_gone("
        'port, f"its worker is gone: {reason}")\n',
        "",
        f"{ONE_OUTCOME}[local-link-callee gone]",
    ),
    Mutation(
        "a worker that vanishes gives its calls up",
        "engine/_supervisor.py",
        "        self._invocations.caller_gone(\n"
        '            port, f"its caller is gone: {reason}", tell=port.is_local\n'
        "        )\n",
        "",
        f"{ONE_OUTCOME}[link-link-caller gone]",
    ),
    Mutation(
        "a worker that vanishes leaves its name",
        "engine/_supervisor.py",
        "        self.roster.release_name(record)\n",
        "",
        f"{MATRIX}::test_the_engine_keeps_nothing_of_a_worker_that_left",
    ),
    Mutation(
        "a reattach takes the former self down first",
        "engine/_supervisor.py",
        '            self.detach(ghost, "its worker reconnected")\n',
        "",
        f"{CONNECTIONS}::test_reattach_takes_the_ghost_down_before_the_next_frame",
    ),
    Mutation(
        "a peer's cancel is acted upon",
        "engine/_router.py",
        "            self.invocations.cancel(invocation, reason)\n",
        "            del reason\n",
        f"{MATRIX}::test_a_cancelled_scope_cancels_the_handler_in_another_program",
    ),
    Mutation(
        "an engine that drains takes no new calls",
        "engine/_router.py",
        "            return _DRAINING\n",
        "            pass\n",
        f"{CALLS}::test_drain_refuses_new_calls_and_waits_for_old_ones",
    ),
    Mutation(
        "a cancelled remote caller tells the engine",
        "worker/_session.py",
        "            if abandoned and self._cancels:\n",
        "            if not abandoned and self._cancels:\n",
        f"{ONE_OUTCOME}[link-local-call cancelled]",
    ),
    Mutation(
        "an engine without the feature gets nothing new",
        "worker/_session.py",
        "            if abandoned and self._cancels:\n",
        "            if abandoned:\n",
        f"{REMOTE}::test_an_engine_without_the_feature_gets_nothing_new",
    ),
    Mutation(
        "a remote handler is cancelled when the engine says so",
        "worker/_session.py",
        '            scope.cancel(reason=frame.reason or "cancelled by the engine")\n',
        "            pass\n",
        f"{ONE_OUTCOME}[local-link-call cancelled]",
    ),
    Mutation(
        "a lost connection cancels the handlers behind it",
        "worker/_session.py",
        '            scope.cancel(reason=f"connection lost: {reason}")\n',
        "            pass\n",
        f"{ONE_OUTCOME}[link-link-callee gone]",
    ),
    Mutation(
        "a lost connection fails the calls that wait behind it",
        "worker/_session.py",
        "            pending.settled.set()\n        for scope",
        "            pass\n        for scope",
        f"{ONE_OUTCOME}[link-link-caller gone]",
    ),
)
