"""English names of the values that people meet, by value; the catalogs translate them.

``N_`` marks a text for the catalogs without translating it.
"""


def N_(text: str) -> str:  # noqa: N802  # gettext's customary name
    """Mark a text for extraction."""
    return text


AWAITING = "awaiting_confirmation"
"""The one name that officers see for candidate, first_confirmed and disputed."""

STATES = {
    "lead": N_("Lead"),
    "in_triage": N_("In triage"),
    "screened_out": N_("Screened out"),
    AWAITING: N_("Awaiting confirmation"),
    "candidate": N_("Candidate case"),
    "first_confirmed": N_("First confirmation given"),
    "disputed": N_("Disputed"),
    "confirmed": N_("Confirmed"),
    "not_confirmed": N_("Not confirmed"),
    "dispatched": N_("Dispatched"),
    "acknowledged": N_("Acknowledged"),
    "recalled": N_("Recalled"),
}

ROLES = {
    "analyst": N_("Analyst"),
    "officer": N_("Officer"),
    "supervisor": N_("Supervisor"),
    "service": N_("Service"),
    "pipeline": N_("Pipeline"),
}

SOURCES = {
    "folder": N_("Folder"),
    "rtsp": N_("Camera"),
    "mqtt": N_("Sensors (MQTT)"),
    "hj212": N_("Stations (HJ 212)"),
    "drone_folder": N_("Drone (folder)"),
    "drone_bucket": N_("Drone (bucket)"),
}

FLIGHTS = {
    "awaited": N_("files are still coming"),
    "accepted": N_("accepted"),
    "refused": N_("refused"),
    "repeated": N_("the same files as before"),
}

TROUBLES = {
    "silent": N_("Gives nothing"),
    "collector_down": N_("Collector does not report"),
    "not_recording": N_("Not recording"),
    "view": N_("View impaired"),
    "sensor": N_("Sensor stuck or silent"),
    "clock": N_("Clock is off"),
    "quarantine": N_("Captures set aside"),
    "stray": N_("Files outside of any flight"),
    "flight_refused": N_("Flight refused"),
    "flight_missed": N_("Flight missed"),
    "gaps": N_("Gaps in the last day"),
}

COLLECTING = {
    "connecting": N_("connecting"),
    "recording": N_("recording"),
    "listening": N_("listening"),
    "retrying": N_("retrying"),
    "refused": N_("refused by the device"),
    "spool_full": N_("spool is full"),
    "stopped": N_("stopped"),
}

SENSOR_PROBLEMS = {
    "sensor_stuck": N_("always the same value"),
    "sensor_missing": N_("no readings"),
}

VIEW_PROBLEMS = {
    "covered": N_("covered"),
    "black": N_("black"),
    "frozen": N_("frozen"),
    "defocused": N_("out of focus"),
    "turned": N_("turned away"),
}

TRIAGE_VERDICTS = {
    "violation": N_("Accept: what the rule describes"),
    "not_a_violation": N_("Not a violation"),
    "unclear": N_("Unclear"),
    "other_violation": N_("Another matter"),
}

TRIAGE_REASONS = {
    "as_described": N_("As the rule describes"),
    "lawful_activity": N_("Lawful activity"),
    "nothing_there": N_("Nothing there"),
    "poor_picture": N_("Poor picture"),
    "wrong_object": N_("Wrong object"),
    "not_in_zone": N_("Not in the zone"),
    "other_matter": N_("A matter of another rule"),
}

REASONS_OF_VERDICT = {
    "violation": ("as_described",),
    "not_a_violation": ("lawful_activity", "nothing_there", "wrong_object", "not_in_zone"),
    "unclear": ("poor_picture", "wrong_object", "not_in_zone"),
    "other_violation": ("other_matter",),
}
"""Which reasons the page offers with which verdict."""

CONFIRM_VERDICTS = {
    "confirm": N_("Confirm"),
    "reject": N_("Reject"),
}

REJECT_REASONS = {
    "unclear_record": N_("The record is unclear"),
    "necessity": N_("Necessity or force of circumstances"),
    "emergency_vehicle": N_("Emergency vehicle on duty"),
    "stolen_plate": N_("Stolen or copied plate"),
    "conflicting_signs": N_("Signs or markings contradict each other"),
    "already_handled": N_("Already handled"),
    "no_violation": N_("No violation"),
    "wrong_facts": N_("Matter, party or place is wrong"),
}

ATTESTATIONS = {
    "true": N_("True"),
    "clear": N_("Clear"),
    "complete": N_("Complete"),
    "accurate": N_("Accurate"),
}

ATTESTATION_MEANINGS = {
    "true": N_("The record shows what happened; nothing is staged or altered."),
    "clear": N_("Object and act can be told without guessing."),
    "complete": N_("The act is there from beginning to end, with its surroundings."),
    "accurate": N_("Time, place and rule are right."),
}

EVENTS = {
    "sealed": N_("Evidence sealed"),
    "claimed": N_("Claimed"),
    "released": N_("Released"),
    "triaged": N_("Triaged"),
    "judged": N_("Verdict given"),
    "facts_revised": N_("Facts revised"),
    "evidence_joined": N_("Evidence joined"),
    "dispatched": N_("Dispatched"),
    "acknowledged": N_("Acknowledged"),
    "recalled": N_("Recalled"),
}

ITEMS = {
    "original": N_("Original"),
    "preceding": N_("Preceding original"),
    "further_original": N_("Further original"),
    "clip": N_("Clip"),
    "key_frame": N_("Key frame"),
    "observation": N_("Observation"),
    "telemetry": N_("Telemetry"),
    "readings": N_("Readings"),
    "comparison": N_("Comparison"),
}

THINGS = {
    "person": N_("Person"),
    "bicycle": N_("Bicycle"),
    "car": N_("Car"),
    "motorcycle": N_("Motorcycle"),
    "bus": N_("Bus"),
    "truck": N_("Truck"),
    "static_object": N_("Left object"),
    "thrown_object": N_("Thrown object"),
    "fire": N_("Fire"),
    "smoke": N_("Smoke"),
}

DEVICE_STATUS = {
    "valid": N_("reviewed and valid"),
    "invalid": N_("outside its review dates"),
    "unregistered": N_("not registered"),
}

PURPOSES = {
    "no_dumping": N_("No dumping"),
    "forbidden": N_("No entry"),
    "no_stopping": N_("No stopping"),
    "helmets_required": N_("Helmets required"),
    "no_fire": N_("No open fire"),
    "smoke_watch": N_("Watched for smoke"),
}

ACTIONS = {
    "claim": N_("Claim"),
    "release": N_("Release"),
    "triage": N_("Triage"),
    "confirm": N_("Confirm"),
    "recuse": N_("Recuse"),
    "revise_facts": N_("Revise facts"),
    "recall": N_("Recall"),
    "dispatch": N_("Dispatch"),
    "view": N_("View"),
    "give_mission": N_("Give a mission"),
    "request": N_("Request with unknown fields"),
    "forged request": N_("Request without its token"),
}

ALL: dict[str, str] = {
    **TRIAGE_VERDICTS,
    **TRIAGE_REASONS,
    **CONFIRM_VERDICTS,
    **REJECT_REASONS,
    **ATTESTATIONS,
    **THINGS,
    **DEVICE_STATUS,
    **PURPOSES,
    **ITEMS,
    **ACTIONS,
    **EVENTS,
    **ROLES,
    **STATES,
}
"""Every value at once, for texts that mention one."""
