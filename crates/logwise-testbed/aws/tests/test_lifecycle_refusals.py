"""Each lifecycle document that AWS refuses, with AWS's code; and their neighbours that it takes."""

from __future__ import annotations

from .bed import Case, control
from .documents import ALL, ENABLED, WEEK, document, get, put

MALFORMED, ARGUMENT, REQUEST, IA = "MalformedXML", "InvalidArgument", "InvalidRequest", ("STANDARD_IA", "ONEZONE_IA")


def move(days: int | str, name: str) -> str:
    """A transition; text is a date."""
    when = f"<Days>{days}</Days>" if isinstance(days, int) else f"<Date>{days}</Date>"
    return f"<Transition>{when}<StorageClass>{name}</StorageClass></Transition>"


def move_noncurrent(days: int, name: str) -> str:
    inner = f"<NoncurrentDays>{days}</NoncurrentDays><StorageClass>{name}</StorageClass>"
    return f"<NoncurrentVersionTransition>{inner}</NoncurrentVersionTransition>"


def expire(inner: str) -> str:
    return f"<Expiration>{inner}</Expiration>"


def noncurrent(inner: str) -> str:
    return f"<NoncurrentVersionExpiration>{inner}</NoncurrentVersionExpiration>"


def days(number: int | str) -> str:
    return f"<Days>{number}</Days>"


def on(date: str) -> str:
    return f"<Date>{date}</Date>"


def tag(key: str) -> str:
    return f"<Tag><Key>{key}</Key><Value>v</Value></Tag>"


def only(inner: str) -> str:
    return f"<Filter>{inner}</Filter>"


def both(inner: str) -> str:
    return only(f"<And>{inner}</And>")


SIZE = "<ObjectSizeGreaterThan>9</ObjectSizeGreaterThan>"
SMALL = "<ObjectSizeLessThan>{}</ObjectSizeLessThan>"
PREFIX = "<Prefix>a/</Prefix>"
MARKER = "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"
ABORT = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>{}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
NEWER = "<NewerNoncurrentVersions>{}</NewerNoncurrentVersions>"
AGED = "<NoncurrentDays>{}</NoncurrentDays>"
RULE = ENABLED + ALL


class Refusals(Case):
    def setUp(self) -> None:
        super().setUp()
        self.bucket()

    def no(self, code: str, *bodies: bytes | str) -> None:
        """Each is refused with this code and not kept; text is one rule."""
        control("PUT", "/_lifecycle", {"bucket": self.name, "document": None})
        for body in bodies:
            answer = put(self.name, document(body) if isinstance(body, str) else body)
            self.assertEqual((answer.status, answer.code), (400, code), body)
            self.assertEqual(get(self.name).code, "NoSuchLifecycleConfiguration")

    def yes(self, *rules: str) -> None:
        """Each must be taken as the only rule, and kept as it is."""
        for rule in rules:
            body = document(rule)
            answer = put(self.name, body)
            self.assertEqual(answer.status, 200, (rule, answer.body))
            self.assertEqual(get(self.name).body, body)

    def test_not_well_formed(self) -> None:
        self.no(MALFORMED, b"", b"<LifecycleConfiguration>", b"{}", document("<Rule>")[:-9])
        whole = document(RULE + WEEK)
        self.no(MALFORMED, whole.replace(b"LifecycleConfiguration", b"Other"), whole.replace(b"<Rule>", b"<A/><Rule>"))
        self.no(MALFORMED, b'<!DOCTYPE x [<!ENTITY e "e">]>' + document(RULE + WEEK).split(b"?>")[1])

    def test_number_of_rules(self) -> None:
        self.no(MALFORMED, document(), document(*[RULE + WEEK] * 1001))
        self.assertEqual(put(self.name, document(*[RULE + WEEK] * 1000)).status, 200)

    def test_ids(self) -> None:
        self.no(ARGUMENT, f"<ID>{'i' * 256}</ID>" + RULE + WEEK)
        self.no(ARGUMENT, document(*["<ID>same</ID>" + RULE + WEEK] * 2))
        self.yes(f"<ID>{'i' * 255}</ID>" + RULE + WEEK, RULE + WEEK)

    def test_status(self) -> None:
        self.no(MALFORMED, ALL + WEEK, "<Status>enabled</Status>" + ALL + WEEK, ENABLED + ENABLED + ALL + WEEK)
        self.yes("<Status>Disabled</Status>" + ALL + WEEK)

    def test_no_action(self) -> None:
        self.no(REQUEST, RULE, RULE + "<FutureField/>")

    def test_days_of_expiration(self) -> None:
        self.no(ARGUMENT, RULE + expire(days(0)), RULE + expire(days(-1)))
        self.no(MALFORMED, RULE + expire(days("x")), RULE + expire(days(2**31)), RULE + expire(""))
        self.yes(RULE + expire(days(1)))

    def test_dates(self) -> None:
        self.no(ARGUMENT, RULE + expire(on("2030-01-01T00:00:01Z")), RULE + expire(on("2030-01-01T00:00:00+05:30")))
        self.no(ARGUMENT, RULE + move("2030-01-01T12:00:00.000Z", "GLACIER"))
        self.no(MALFORMED, RULE + expire(on("tomorrow")), RULE + expire(on("20300101")))
        good = ("2030-01-01T00:00:00.000Z", "2030-01-01", "2030-01-01T05:30:00+05:30")
        self.yes(*[RULE + expire(on(date)) for date in good])

    def test_days_and_date_together(self) -> None:
        self.no(MALFORMED, RULE + expire(days(1) + on("2030-01-01")))
        self.no(REQUEST, RULE + expire(days(90)) + move("2030-01-01", "GLACIER"))
        self.no(REQUEST, RULE + move(90, "GLACIER") + move("2030-01-01", "DEEP_ARCHIVE"))

    def test_prefix_and_filter(self) -> None:
        self.no(MALFORMED, ENABLED + PREFIX + ALL + WEEK, ENABLED + WEEK)
        self.yes(ENABLED + PREFIX + WEEK, ENABLED + only(PREFIX) + WEEK, ENABLED + "<Prefix/>" + WEEK)

    def test_conditions_without_and(self) -> None:
        self.no(MALFORMED, ENABLED + only(PREFIX + tag("k")) + WEEK, ENABLED + only(PREFIX + SIZE) + WEEK)
        self.no(MALFORMED, ENABLED + only(f"<And>{PREFIX}{SIZE}</And>{PREFIX}") + WEEK)
        self.yes(ENABLED + only(tag("k")) + WEEK, ENABLED + only(SIZE) + WEEK)

    def test_and(self) -> None:
        self.no(MALFORMED, ENABLED + both("") + WEEK, ENABLED + both(PREFIX) + WEEK)
        self.no(MALFORMED, ENABLED + both(PREFIX + PREFIX) + WEEK, ENABLED + both(SIZE + SIZE) + WEEK)
        self.no(REQUEST, ENABLED + both(tag("k") + tag("k")) + WEEK)
        self.yes(ENABLED + both(PREFIX + tag("k")) + WEEK, ENABLED + both(tag("k") + tag("l")) + WEEK)

    def test_tags_and_sizes(self) -> None:
        self.no(MALFORMED, ENABLED + only("<Tag><Key>k</Key></Tag>") + WEEK, ENABLED + only(tag("")) + WEEK)
        self.no(MALFORMED, ENABLED + only("<ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan>") + WEEK)
        self.no(REQUEST, ENABLED + both(SIZE + SMALL.format(9)) + WEEK)
        self.yes(ENABLED + both(SIZE + SMALL.format(10)) + WEEK)

    def test_storage_class(self) -> None:
        self.no(MALFORMED, RULE + move(90, "COLD"), RULE + move(90, "STANDARD"), RULE + move_noncurrent(90, "COLD"))
        self.no(MALFORMED, RULE + "<Transition><Days>90</Days></Transition>")
        self.no(MALFORMED, RULE + "<Transition><StorageClass>GLACIER</StorageClass></Transition>")
        self.no(ARGUMENT, RULE + move(-1, "GLACIER"))

    def test_infrequent_access_before_30_days(self) -> None:
        for name in IA:
            self.no(ARGUMENT, RULE + move(29, name), RULE + move_noncurrent(29, name))
            self.yes(RULE + move(30, name), RULE + move_noncurrent(30, name))
        self.yes(*[RULE + move(0, name) for name in ("INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")])

    def test_expiration_after_the_last_transition(self) -> None:
        self.no(ARGUMENT, RULE + move(30, "GLACIER") + expire(days(30)), RULE + move(30, "GLACIER") + expire(days(9)))
        self.no(ARGUMENT, RULE + move("2030-01-02", "GLACIER") + expire(on("2030-01-01")))
        self.no(ARGUMENT, RULE + move_noncurrent(30, "GLACIER") + noncurrent(AGED.format(30)))
        self.yes(RULE + move(30, "GLACIER") + expire(days(31)))
        self.yes(RULE + move_noncurrent(30, "GLACIER") + noncurrent(AGED.format(31)))

    def test_the_waterfall(self) -> None:
        self.no(ARGUMENT, RULE + move(30, "GLACIER") + move(90, "STANDARD_IA"))
        self.no(ARGUMENT, RULE + move(1, "DEEP_ARCHIVE") + move(90, "GLACIER"))
        self.no(ARGUMENT, RULE + move(90, "ONEZONE_IA") + move(200, "STANDARD_IA"))
        self.no(ARGUMENT, RULE + move(30, "ONEZONE_IA") + move(90, "GLACIER_IR"))
        self.no(ARGUMENT, RULE + move(90, "GLACIER") + move(90, "DEEP_ARCHIVE"))
        self.no(ARGUMENT, RULE + move_noncurrent(1, "DEEP_ARCHIVE") + move_noncurrent(90, "GLACIER"))
        self.no(REQUEST, RULE + move(90, "GLACIER") + move(91, "GLACIER"))
        whole = [(30, "STANDARD_IA"), (60, "INTELLIGENT_TIERING"), (90, "GLACIER_IR"), (91, "GLACIER")]
        self.yes(RULE + "".join(move(*step) for step in [*whole, (92, "DEEP_ARCHIVE")]) + expire(days(93)))

    def test_a_month_between_infrequent_access_and_an_archive(self) -> None:
        for first in IA:
            self.no(ARGUMENT, RULE + move(40, first) + move(69, "GLACIER"))
            self.no(ARGUMENT, RULE + move_noncurrent(40, first) + move_noncurrent(69, "GLACIER"))
            self.yes(RULE + move(40, first) + move(70, "GLACIER"))
        self.no(ARGUMENT, RULE + move("2030-01-01", "STANDARD_IA") + move("2030-01-30", "GLACIER"))

    def test_expired_object_delete_marker(self) -> None:
        self.no(MALFORMED, RULE + expire(MARKER + days(1)), RULE + expire(MARKER + on("2030-01-01")))
        self.no(MALFORMED, RULE + expire(MARKER.replace("true", "yes")))
        self.no(REQUEST, ENABLED + only(tag("k")) + expire(MARKER), ENABLED + both(PREFIX + tag("k")) + expire(MARKER))
        self.yes(RULE + expire(MARKER), ENABLED + only(PREFIX) + expire(MARKER))

    def test_abort_incomplete_multipart_upload(self) -> None:
        abort = ABORT.format(1)
        self.no(REQUEST, ENABLED + only(tag("k")) + abort, ENABLED + both(PREFIX + tag("k")) + abort)
        self.no(REQUEST, ENABLED + only(SIZE) + abort, ENABLED + both(PREFIX + SIZE) + abort)
        self.no(ARGUMENT, RULE + ABORT.format(0))
        self.no(MALFORMED, RULE + "<AbortIncompleteMultipartUpload/>")
        self.yes(RULE + abort, ENABLED + only(PREFIX) + abort)

    def test_noncurrent_versions(self) -> None:
        self.no(ARGUMENT, RULE + noncurrent(AGED.format(0)), RULE + noncurrent(AGED.format(-1)))
        self.no(ARGUMENT, RULE + noncurrent(NEWER.format(5)), RULE + move_noncurrent(-1, "GLACIER"))
        self.no(ARGUMENT, *[RULE + noncurrent(AGED.format(1) + NEWER.format(number)) for number in (0, 101)])
        self.yes(*[RULE + noncurrent(AGED.format(1) + NEWER.format(number)) for number in (1, 100)])

    def test_one_bad_rule_spoils_the_document(self) -> None:
        self.no(ARGUMENT, document("<ID>good</ID>" + RULE + WEEK, "<ID>bad</ID>" + RULE + expire(days(0))))
