"""What ``make mutations`` spoils, and which test must notice."""

import attrs

MATRIX = "component/test_cancellation_matrix.py"
ONE_OUTCOME = f"{MATRIX}::test_a_call_has_one_outcome_and_leaves_nothing"
CALLS = "component/test_engine_calls.py"
CONNECTIONS = "component/test_engine_connections.py"
REMOTE = "component/test_worker_remote.py"
FIRST_ROUND = "component/test_first_round_trip.py"
UNREADABLE = "component/test_unreadable_frames.py"
MACHINE = "property/test_calls_machine.py::TestCalls::runTest"
SDK = (
    "integration/test_sdk_workers.py"
    "::test_a_call_that_is_cancelled_leaves_nothing_and_harms_nobody[py]"
)
RELAY = "property/test_relay.py"
EDGES = "component/test_cancellation_edges.py"
DEADLINES = "component/test_handler_deadlines.py"
PROGRAMS = "property/test_programs.py::test_every_program_goes_as_the_model_says[0]"


@attrs.frozen
class Mutation:
    """One thing to spoil.

    Attributes:
        what: the promise that is broken.
        file: below ``iii_trio``.
        old: text that stands there exactly once.
        new: what it becomes.
        test: below ``tests``; must fail.
        says: must stand in what the test prints: the invariant that is hurt.
    """

    what: str
    file: str
    old: str
    new: str
    test: str
    says: str = ""


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
        "        del self.entries[invocation.id]\n",
        "",
        f"{ONE_OUTCOME}[link-local-callee answers]",
    ),
    Mutation(
        "a relayed answer leaves the table",
        "engine/_relay.py",
        "            del self._entries[invocation.id]\n",
        "",
        f"{RELAY}::test_the_relay_and_the_router_do_the_same",
    ),
    Mutation(
        "a relayed answer leaves its callee",
        "engine/_relay.py",
        "            del port.executing[invocation]\n",
        "",
        f"{RELAY}::test_the_relay_and_the_router_do_the_same",
    ),
    Mutation(
        "a relayed answer leaves its caller",
        "engine/_relay.py",
        "            del caller.made[invocation]\n",
        "",
        f"{RELAY}::test_the_relay_and_the_router_do_the_same",
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
        "            self.leave(invocation, STOPPED)\n"
        "            invocation.callee.abandon(invocation, reason)\n",
        "            self.leave(invocation, STOPPED)\n",
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
        "            deadline_ms = self._invocations.time_left(invocation) * 1000\n",
        "            deadline_ms = invocation.timeout * 2000\n",
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
        '        port.cancel(frame.invocation_id, frame.reason or "")\n',
        "        pass\n",
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
        "worker/_pending.py",
        "        if self.can_cancel:\n            self._send(",
        "        if not self.can_cancel:\n            self._send(",
        f"{ONE_OUTCOME}[link-local-call cancelled]",
    ),
    Mutation(
        "an engine without the feature gets nothing new",
        "worker/_pending.py",
        "        if self.can_cancel:\n            self._send(",
        "        if True:\n            self._send(",
        f"{REMOTE}::test_an_engine_without_the_feature_gets_nothing_new",
    ),
    Mutation(
        "what is given up before the engine told its features is cancelled then",
        "worker/_pending.py",
        "            self._withheld[invocation_id] = reason\n",
        "",
        f"{FIRST_ROUND}::test_a_call_given_up_at_once_is_cancelled_once_that_can_be",
    ),
    Mutation(
        "a call with a deadline waits until the engine may be told it",
        "worker/_remote.py",
        "            while timeout != math.inf and not session.calls.knows_features:\n",
        "            while False:\n",
        f"{FIRST_ROUND}::test_a_deadline_shrinks_along_a_chain_from_the_first_call_on",
    ),
    Mutation(
        "an answer that cannot be read ends its call",
        "engine/_router.py",
        "            end_unreadable(port, self.invocations, self.bindings, remains, error)\n",
        "            pass\n",
        f"{UNREADABLE}::test_an_answer_that_cannot_be_read_ends_its_call[half-raw]",
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
        "        self.calls.lose()\n",
        "",
        f"{ONE_OUTCOME}[link-link-caller gone]",
    ),
    # Each invariant of generated programs, in the order of tests/property/invariants.py.
    Mutation(
        "nobody else notices: a wrong token takes nobody down",
        "engine/_roster.py",
        "        return record if proven else None\n",
        "        return record if proven or token else None\n",
        PROGRAMS,
        "nobody_else_notices",
    ),
    Mutation(
        "a disconnect cancels the handlers of its calls",
        "engine/_invocation.py",
        "            if not tell:\n                self.cancel(invocation, reason)\n",
        "            if not tell:\n                self.leave(invocation, STOPPED)\n",
        PROGRAMS,
        "handlers_run_and_are_cancelled_as_they_should",
    ),
    Mutation(
        "a handler is cancelled with a reason",
        "engine/_ports.py",
        "            invocation.scope.cancel(reason=reason)\n",
        "            invocation.scope.cancel()\n",
        PROGRAMS,
        "cancelled without a reason",
    ),
    Mutation(
        "no caller is told twice",
        "engine/_invocation.py",
        "            caller.answer(invocation, outcome)\n        return True",
        "            caller.answer(invocation, outcome)\n"
        "            caller.answer(invocation, outcome)\n        return True",
        PROGRAMS,
        "no_caller_is_told_twice_or_wrongly",
    ),
    Mutation(
        "no caller is told of somebody else's answer",
        "engine/_invocation.py",
        "if invocation is None or invocation.callee is not callee:",
        "if invocation is None:",
        PROGRAMS,
        "AssertionError",
    ),
    Mutation(
        "a disconnect settles the calls to it",
        "engine/_supervisor.py",
        "        self._invocations.callee_gone("
        'port, f"its worker is gone: {reason}")\n',
        "",
        PROGRAMS,
        "no_caller_is_told_twice_or_wrongly",
    ),
    Mutation(
        "each call settles exactly once",
        "engine/_invocation.py",
        "            self.leave(invocation, STOPPED)\n"
        "            invocation.callee.abandon(invocation, reason)\n",
        "            invocation.callee.abandon(invocation, reason)\n",
        PROGRAMS,
        "each_call_settles_exactly_once",
    ),
    Mutation(
        "no entry is left",
        "engine/_invocation.py",
        "        del invocation.callee.executing[invocation]\n",
        "        pass\n",
        PROGRAMS,
        "no_entry_is_left",
    ),
    Mutation(
        "no function of a worker that left is left",
        "engine/_supervisor.py",
        "        self._registrar.release_functions(port)\n",
        "",
        PROGRAMS,
        "no_entry_is_left",
    ),
    Mutation(
        "no timer is left",
        "engine/_invocation.py",
        "            self._timers.cancel(invocation.timer)\n",
        "",
        PROGRAMS,
        "no_timer_is_left",
    ),
    Mutation(
        "no lease is left: a name is free when its worker has gone",
        "engine/_supervisor.py",
        "        self.roster.release_name(record)\n",
        "",
        PROGRAMS,
        "no_lease_is_left",
    ),
    Mutation(
        "no outbox byte is left",
        "transport/_byte_pipe.py",
        "        self.waiting_bytes -= len(data)\n",
        "        self.waiting_bytes -= len(data) - 1\n",
        PROGRAMS,
        "no_outbox_byte_is_left",
    ),
    Mutation(
        "no task is left",
        "engine/_ports.py",
        "            self._invocations.settle(invocation, STOPPED)\n\n"
        "    async def run_inline(\n",
        "            self._invocations.settle(invocation, STOPPED)\n"
        "            await trio.sleep(1)\n\n"
        "    async def run_inline(\n",
        PROGRAMS,
        "no_task_is_left",
    ),
    # With a real SDK, and a tap on its link.
    Mutation(
        "a public SDK never hears of a cancel",
        "engine/_link_port.py",
        "        if self.cancels and self.is_live:\n",
        "        if self.is_live:\n",
        SDK,
        "frame 'cancelinvocation'",
    ),
    Mutation(
        "a public SDK never hears of a deadline",
        "engine/_link_port.py",
        "if invocation.timer is not None and self.cancels:",
        "if invocation.timer is not None:",
        SDK,
        "invokefunction.deadline_ms",
    ),
    # The tables alone.
    Mutation(
        "the tables keep each call until it settles",
        "engine/_invocation.py",
        "        for invocation in list(callee.executing):\n",
        "        for invocation in list(callee.executing)[1:]:\n",
        MACHINE,
    ),
    Mutation(
        "the tables forget a call with its caller",
        "engine/_invocation.py",
        "        for invocation in list(caller.made):\n",
        "        for invocation in list(caller.made)[1:]:\n",
        MACHINE,
    ),
    # What once was a hole.
    Mutation(
        "a handler that fails while it is cancelled disturbs nobody",
        "worker/_serve.py",
        "        raise cancellation_in("
        'group, f"handler of {call.function_id!r}") from None\n',
        "        raise\n",
        f"{EDGES}::test_a_handler_that_fails_while_it_is_cancelled_disturbs_nobody",
    ),
    Mutation(
        "a registration that is given up leaves no binding",
        "engine/_engine_port.py",
        "            undo(reason)\n",
        "            pass\n",
        f"{EDGES}::test_a_registration_that_is_given_up_leaves_no_binding",
    ),
    Mutation(
        "a condition of the engine ends with its trigger",
        "engine/_topology.py",
        "            self._router.invocations.cancel_all(asked.inquiries, reason)\n",
        "            del reason\n",
        "component/test_topology_conditions.py"
        "::test_a_condition_is_cancelled_with_its_trigger[unbound]",
    ),
    Mutation(
        "a peer may cancel what it called early",
        "engine/_link_port.py",
        "            self.made_by_ref = {made.caller_ref: made for made in self.made}\n",
        "            pass\n",
        f"{EDGES}::test_a_call_made_before_its_peer_could_cancel_can_be_cancelled_later",
    ),
    Mutation(
        "a binding that is given up takes no other one along",
        "engine/_bindings.py",
        "            if self.triggers.get(trigger_id) is trigger:\n"
        "                self.unbind(trigger_id)\n",
        "            self.unbind(trigger_id)\n",
        f"{EDGES}::test_a_binding_given_up_takes_no_other_one_of_its_id_along",
    ),
    Mutation(
        "a closed worker leaves nothing",
        "engine/_local.py",
        "        if not record.is_live:\n",
        "        if False:\n",
        f"{EDGES}::test_a_closed_worker_does_nothing_and_leaves_nothing",
    ),
    Mutation(
        "a worker that outlives its engine is closed",
        "engine/_engine.py",
        "            if isinstance(port, LocalPort):\n"
        "                self.supervisor.detach(port, reason)\n",
        "            pass\n",
        f"{EDGES}::test_a_worker_that_outlives_its_engine_is_closed",
    ),
    Mutation(
        "the relay takes a result only from the worker that runs the call",
        "engine/_relay.py",
        "            or invocation.callee is not port\n",
        "",
        f"{RELAY}::test_only_who_runs_a_call_may_answer_it",
    ),
    Mutation(
        "a relayed call can be cancelled by its caller",
        "engine/_relay.py",
        "        if port.cancels:\n",
        "        if False:\n",
        f"{RELAY}::test_the_relay_and_the_router_do_the_same",
    ),
    Mutation(
        "a call that was relayed back is no longer its caller's",
        "engine/_relay.py",
        "        if caller.made_by_ref:\n",
        "        if False:\n",
        f"{RELAY}::test_the_relay_and_the_router_do_the_same",
    ),
    Mutation(
        "the relay refuses what a worker is behind with",
        "engine/_relay.py",
        "            or callee.outbox.outbox_bytes > self._quotas.outbox_soft\n",
        "",
        f"{RELAY}::test_the_relay_and_the_router_do_the_same",
    ),
    Mutation(
        "cleanup after a deadline is not bound by it",
        "worker/_context.py",
        "    if left <= 0:\n        return wanted\n",
        "    left = max(left, 0.0)\n",
        f"{DEADLINES}::test_cleanup_in_a_shield_may_call_and_fire[link-its deadline]",
    ),
    Mutation(
        "what a handler leaves behind has no deadline any more",
        "worker/_context.py",
        " or call.is_over:\n",
        ":\n",
        f"{DEADLINES}::test_what_a_handler_leaves_behind_has_no_deadline_any_more",
    ),
    Mutation(
        "a void call outlives the deadline of who fires it",
        "worker/_calls.py",
        "            if not void:  # that one outlives whoever fires it\n",
        "            if True:\n",
        f"{DEADLINES}::test_a_void_call_outlives_the_deadline_of_who_fires_it[local]",
    ),
    Mutation(
        "what a binding starts is not part of the handler that binds",
        "engine/_ports.py",
        "            later = context.run(self._handlers.bind, trigger.spec)\n",
        "            later = self._handlers.bind(trigger.spec)\n",
        f"{DEADLINES}::test_a_provider_bound_inside_a_handler_does_not_take_its_deadline"
        "[False]",
    ),
    Mutation(
        "a call that is done gives its outcome, also to who is cancelled",
        "engine/_ports.py",
        "        await trio.lowlevel.cancel_shielded_checkpoint()\n        return\n"
        "    invocation.task =",
        "        await trio.lowlevel.checkpoint()\n        return\n"
        "    invocation.task =",
        f"{DEADLINES}::test_a_binding_whose_caller_is_cancelled_too_late_is_told_of",
    ),
    Mutation(
        "a connection that is gone takes along what is asked about it",
        "engine/_supervisor.py",
        "            self._invocations.cancel_all(port.inquiries, gone)\n",
        "",
        "component/test_access_cancellation.py",
    ),
)
