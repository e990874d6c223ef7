"""What may be spoilt in the access rules, and the test that must notice."""

from tests.mutation_table import Mutation

SESSIONS = "component/test_access_sessions.py"
CALLS = "component/test_access_calls.py"
REGISTRATION = "component/test_access_registration.py"
ENDS = "component/test_access_cancellation.py"
LISTENER = "integration/test_access_listener.py"
LISTINGS = "component/test_access_listings.py"
MACHINE = "property/test_access_machine.py::test_a_session_does_nothing_that_the_model_forbids"

ACCESS_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "forbidden functions win",
        "access/_session.py",
        "        if self.forbids(function_id):\n",
        "        if self.forbids(function_id) and not self.namespaces:\n",
        "unit/test_access_session.py",
    ),
    Mutation(
        "a restricted link's calls are relayed only once one has passed",
        "engine/_relay.py",
        "            or (port.passes is not None and function.serial not in port.passes)\n",
        "",
        f"{CALLS}::test_a_right_ends_with_the_registration_that_it_came_from",
    ),
    Mutation(
        "messages of a restricted link are looked at each time",
        "engine/_gate.py",
        "            if function is not None and function.function_id != ENQUEUE:\n",
        "            if function is not None:\n",
        f"{CALLS}::test_a_queue_on_a_link_gets_each_message_only_if_it_is_allowed",
    ),
    Mutation(
        "what is asked about a connection ends with it",
        "engine/_supervisor.py",
        "            self._invocations.cancel_all(port.inquiries, gone)\n",
        "            del gone\n",
        f"{ENDS}::test_a_hook_is_cancelled_with_the_connection[function]",
    ),
    Mutation(
        "what is asked about a stranger ends with it, too",
        "engine/_gate.py",
        "            made=port.inquiries,\n",
        "            made={},\n",
        f"{ENDS}::test_an_auth_function_is_cancelled_with_the_connection",
    ),
    Mutation(
        "a hook ends with the call that it is asked for",
        "engine/_intrinsics.py",
        "        undo[invocation] = partial(self._invocations.cancel_all, inquiries)\n",
        "",
        f"{ENDS}::test_a_hook_is_cancelled_with_the_call_that_registers[cut]",
    ),
    Mutation(
        "a link that waits is watched",
        "transport/_listener.py",
        "        self.socket.hold(watch=True)\n",
        "        self.socket.hold()\n",
        f"{LISTENER}::test_the_auth_function_is_cancelled_when_nobody_waits_for_it[/-reset]",
    ),
    Mutation(
        "a connection waits for the auth function",
        "engine/_gate.py",
        "        link.hold()\n",
        "",
        f"{SESSIONS}::test_frames_wait_while_the_auth_function_is_asked",
    ),
    Mutation(
        "an auth function without result lets nobody in",
        "access/_session.py",
        '    if result in {b"", b"null"}:\n',
        '    if result == b"":\n        result = b"{}"\n    if result == b"null":\n',
        "unit/test_access_session.py",
    ),
    Mutation(
        "whoever registered nothing may stay unannounced",
        "engine/_supervisor.py",
        "            if port.held:\n                self.dismiss",
        "            if not port.held:\n                self.dismiss",
        f"{SESSIONS}::test_a_caller_that_never_announces_itself_may_stay",
    ),
    Mutation(
        "enqueueing an engine function is no way around the rules",
        "engine/_gate.py",
        "        if function is not None and isinstance(function.owner, EnginePort):\n"
        "            return f",
        "        if function is None:\n            return f",
        f"{CALLS}::test_enqueueing_needs_the_right_to_call",
    ),
    Mutation(
        "an engine function is no target",
        "engine/_trigger_vetting.py",
        "    if function is not None and isinstance(function.owner, EnginePort):\n"
        "        return True\n",
        "",
        f"{REGISTRATION}::test_an_engine_function_is_no_target",
    ),
    Mutation(
        "conditions are functions that the session may call",
        "engine/_trigger_vetting.py",
        "        for function_id in (public, *named):\n",
        "        for function_id in (public,):\n",
        MACHINE,
    ),
    Mutation(
        "a hook does not vouch for what it hands on",
        "engine/_trigger_vetting.py",
        "        named = [one for one in functions_named_in(_value(frame.config)) if one in own]\n",
        "        named = list(own if frame.config is asked.config else ())\n",
        f"{REGISTRATION}::test_a_hook_that_hands_a_config_on_does_not_vouch_for_what_it_names",
    ),
    Mutation(
        "the function that enqueues is no target",
        "engine/_trigger_vetting.py",
        "    if function_id == ENQUEUE:\n        return True\n",
        "",
        f"{CALLS}::test_the_function_that_enqueues_needs_the_right_to_call_what_it_names",
    ),
    Mutation(
        "messages are for functions that the session may call",
        "engine/_gate.py",
        "        if reason is None and function_id == ENQUEUE:\n",
        "        if reason is None and not function_id:\n",
        f"{CALLS}::test_the_function_that_enqueues_needs_the_right_to_call_what_it_names",
    ),
    Mutation(
        "the functions of the queue are not taken over",
        "engine/_vetting.py",
        "        elif public in PROVIDER_IDS and not trusted:\n",
        "        elif not public:\n",
        f"{REGISTRATION}::test_a_session_cannot_pose_as_the_queue",
    ),
    Mutation(
        "workers that offer nothing are not listed",
        "engine/_listings.py",
        "            if not self._discovery.sees_worker(session, record):\n",
        "            if session is self:\n",
        f"{LISTINGS}::test_workers_that_offer_a_session_nothing_do_not_show",
    ),
    Mutation(
        "foreign triggers are not ended",
        "engine/_trigger_vetting.py",
        "        if held is None or self._may_end(port, held):\n            return None\n",
        "        if held is None or port:\n            return None\n",
        MACHINE,
    ),
    Mutation(
        "foreign triggers are not replaced",
        "engine/_trigger_vetting.py",
        "held is not None and not self._may_end(port, held):",
        "held is not None and not port:",
        MACHINE,
    ),
    Mutation(
        "bundled trigger types are not taken over",
        "engine/_vetting.py",
        "if known is not None and known.provider.is_local:",
        "if known is not None and not known.provider.is_live:",
        MACHINE,
    ),
    Mutation(
        "functions are registered below the prefix",
        "engine/_vetting.py",
        "        public = session.prefixed(frame.id)\n",
        "        public = frame.id\n",
        MACHINE,
    ),
    Mutation(
        "triggers aim below the prefix",
        "engine/_trigger_vetting.py",
        "        public = session.prefixed(frame.function_id)\n",
        "        public = frame.function_id\n",
        MACHINE,
    ),
    Mutation(
        "durable triggers need an allowed type",
        "engine/_trigger_vetting.py",
        "        session, kind = guard.session, spec.trigger_type\n"
        "        if not session.allows_trigger_type(kind):\n",
        "        session, kind = guard.session, spec.trigger_type\n        if not kind:\n",
        MACHINE,
    ),
    Mutation(
        "lists of functions are filtered",
        "engine/_listings.py",
        "                or not self._discovery.sees_function(session, function)\n",
        "",
        MACHINE,
    ),
    Mutation(
        "lists of triggers are filtered",
        "engine/_listings.py",
        "                and self._discovery.sees_trigger(session, trigger)\n"
        "                and (asked",
        "                and (asked",
        MACHINE,
    ),
    Mutation(
        "discovery events are filtered",
        "engine/_topology.py",
        '"functions": self._summaries(session)}',
        '"functions": self._summaries(None)}',
        f"{LISTINGS}::test_discovery_events_tell_a_session_only_what_it_may_use",
    ),
    Mutation(
        "what access rests on is not offered by a session",
        "engine/_vetting.py",
        "        if self._is_protected(public) and not trusted:\n",
        "        if not public:\n",
        f"{REGISTRATION}::test_what_access_rests_on_cannot_be_offered_by_a_session",
    ),
)
