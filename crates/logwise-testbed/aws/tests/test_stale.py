"""Stale reads of lifecycle configurations."""

from __future__ import annotations

import time
from typing import Any

from .bed import DEADLINE, Case, control
from .documents import ENABLED, WEEK, Answer, document, get, put

OLD, MIDDLE, NEW = (
    document(ENABLED + f"<Filter><Prefix>{name}/</Prefix></Filter>" + WEEK) for name in ("old", "middle", "new")
)


class Stale(Case):
    def stale(self, **window: Any) -> Any:
        return control("POST", "/_stale", {"bucket": self.name, **window})

    def changed(self) -> None:
        """A bucket whose configuration was just changed."""
        self.bucket(lifecycle=OLD.decode())
        put(self.name, NEW)

    def reads(self, number: int) -> list[str]:
        names = {OLD: "old", MIDDLE: "middle", NEW: "new"}
        return [names.get(answer.body, str(answer.code)) for answer in (get(self.name) for _ in range(number))]

    def test_so_many_reads(self) -> None:
        self.changed()
        self.assertEqual(self.stale(reads=2), {"open": True, "waiting": False, "reads": 2, "left_ms": None})
        self.assertEqual(self.reads(4), ["old", "old", "new", "new"])
        self.assertEqual([one["outcome"]["fault"] for one in self.calls(mutating="false")], ["stale"] * 2 + [None] * 2)
        self.assertFalse(control("GET", "/_stale", bucket=self.name)["open"])

    def test_so_long(self) -> None:
        self.changed()
        self.stale(for_ms=150)
        deadline, seen = time.monotonic() + DEADLINE, self.reads(1)
        while seen[-1] == "old":
            self.assertLess(time.monotonic(), deadline)
            seen += self.reads(1)
        self.assertEqual((seen[0], seen[-1]), ("old", "new"))

    def test_old_and_new_by_turns(self) -> None:
        self.changed()
        self.stale(reads=2, alternate=True)
        self.assertEqual(self.reads(5), ["old", "new", "old", "new", "new"])

    def test_until_it_is_ended_while_the_control_interface_sees_the_truth(self) -> None:
        self.changed()
        self.stale()
        self.assertEqual(self.reads(3), ["old"] * 3)
        self.assertEqual(control("GET", "/_lifecycle", bucket=self.name)["document"], NEW.decode())
        control("DELETE", "/_stale", bucket=self.name)
        self.assertEqual(self.reads(1), ["new"])

    def test_from_the_next_write_on(self) -> None:
        self.bucket(lifecycle=OLD.decode())
        self.assertTrue(self.stale(reads=1, after_next_write=True)["waiting"])
        self.assertEqual(self.reads(2), ["old", "old"])
        put(self.name, NEW)
        self.assertEqual(self.reads(2), ["old", "new"])

    def test_before_the_first_and_after_the_last_configuration(self) -> None:
        self.bucket()
        put(self.name, NEW)
        self.stale(reads=1)
        self.assertEqual(self.reads(2), ["NoSuchLifecycleConfiguration", "new"])
        Answer("DELETE", f"/{self.name}?lifecycle")
        self.stale(reads=1)
        self.assertEqual(self.reads(2), ["new", "NoSuchLifecycleConfiguration"])

    def test_before_the_last_but_one_write(self) -> None:
        self.bucket(lifecycle=OLD.decode())
        put(self.name, MIDDLE)
        self.stale(reads=1, writes=2, after_next_write=True)
        put(self.name, NEW)
        self.assertEqual(self.reads(2), ["old", "new"])
        self.stale(reads=1)
        self.assertEqual(self.reads(2), ["middle", "new"])
        self.stale(reads=1, writes=8)
        self.assertEqual(self.reads(1), ["new"], "there were not so many writes")
        control("POST", "/_stale", {"bucket": self.name, "writes": 0}, status=400)
        control("POST", "/_stale", {"bucket": self.name, "writes": 9}, status=400)

    def test_without_any_write_there_is_nothing_older(self) -> None:
        self.bucket()
        self.stale(reads=1)
        self.assertEqual(self.reads(1), ["NoSuchLifecycleConfiguration"])
        control("POST", "/_stale", {"bucket": self.name, "reads": -1}, status=400)
        control("POST", "/_stale", {"bucket": f"{self.name}-none"}, status=404)
