"""A bucket that takes lifecycle documents and keeps less of them."""

from __future__ import annotations

from .bed import Case, client, control
from .documents import ALL, ENABLED, WEEK, document, get, put

SIZE = "x-amz-transition-default-minimum-object-size"
ABORT = (
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
)
LARGER = "<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>"


class Lossy(Case):
    def drop(self, *fields: str) -> None:
        control("PUT", "/_drops", {"bucket": self.name, "fields": list(fields)})

    def test_it_drops_what_it_was_told_to_and_nothing_else(self) -> None:
        self.bucket()
        rules = ["<ID>a</ID>\n" + ENABLED + ALL + WEEK, "<ID>b</ID>" + ENABLED + ALL + WEEK]
        more = ABORT + "<FutureField a='1'/><FutureField><X>1</X></FutureField>"
        sent = document(rules[0] + more, rules[1])
        self.drop("AbortIncompleteMultipartUpload", "FutureField")
        self.assertEqual(put(self.name, sent).status, 200)
        self.assertEqual(get(self.name).body, document(*rules))
        self.drop()
        put(self.name, sent)
        self.assertEqual(get(self.name).body, sent)

    def test_one_condition_that_is_left_stands_without_and(self) -> None:
        self.bucket()
        both = f"<Filter><And><Prefix>x/</Prefix>{LARGER}</And></Filter>"
        tag = f"<Filter><And><Tag><Key>k</Key><Value>v</Value></Tag><Prefix>x/</Prefix>{LARGER}</And></Filter>"
        self.drop("ObjectSizeGreaterThan")
        put(self.name, document(ENABLED + WEEK + both, ENABLED + WEEK + tag))
        alone = "<Filter><Prefix>x/</Prefix></Filter>"
        kept = document(ENABLED + WEEK + alone, ENABLED + WEEK + tag.replace(LARGER, ""))
        self.assertEqual(get(self.name).body, kept)
        self.assertEqual(put(self.name, kept).status, 200, "what it keeps can be written again")

    def test_the_setting_can_be_dropped_too(self) -> None:
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        self.drop("TransitionDefaultMinimumObjectSize")
        put(self.name, body, **{SIZE: "varies_by_storage_class"})
        self.assertEqual((get(self.name).body, get(self.name).headers[SIZE]), (body, "all_storage_classes_128K"))

    def test_what_is_refused_is_refused_and_a_new_bucket_keeps_all(self) -> None:
        self.bucket()
        self.drop("Expiration")
        self.assertEqual(put(self.name, document()).code, "MalformedXML")
        control("PUT", "/_drops", {"bucket": self.name, "fields": ["<no>"]}, status=400)
        client("s3").delete_bucket(Bucket=self.name)
        self.bucket()
        body = document(ENABLED + ALL + WEEK)
        put(self.name, body)
        self.assertEqual(get(self.name).body, body)
