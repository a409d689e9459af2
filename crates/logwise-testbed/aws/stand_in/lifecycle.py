"""Lifecycle configurations: kept byte for byte, returned byte for byte, refused as AWS refuses them."""

from __future__ import annotations

from dataclasses import dataclass

from .body import has_digest
from .call import Call, Refusal, Reply
from .lifecycle_rules import validate
from .lossy import SETTING, lessened
from .owner import bucket
from .stale import StaleReads

SIZE_HEADER = "x-amz-transition-default-minimum-object-size"
DEFAULT_SIZE = "all_storage_classes_128K"
_SIZES = (DEFAULT_SIZE, "varies_by_storage_class")


@dataclass(frozen=True)
class Configuration:
    """A bucket's document and the setting that travels beside it."""

    document: bytes
    minimum_object_size: str


class Lifecycles:
    """The configuration of each bucket that has one."""

    def __init__(self) -> None:
        self._kept: dict[str, Configuration] = {}
        self.drops: dict[str, frozenset[str]] = {}
        self.stale: StaleReads[Configuration] = StaleReads()

    def get(self, name: str) -> Configuration | None:
        return self._kept.get(name)

    def put(self, name: str, document: bytes, minimum_object_size: str | None) -> Configuration:
        """Validates and replaces the whole configuration; without a size the default comes back."""
        size = minimum_object_size or DEFAULT_SIZE
        if size not in _SIZES:
            raise Refusal(400, "InvalidArgument", f"Invalid value for {SIZE_HEADER}: {size}")
        validate(document)
        self.stale.written(name, self.get(name))
        drops = self.drops.get(name, frozenset())
        self._kept[name] = Configuration(lessened(document, drops), DEFAULT_SIZE if SETTING in drops else size)
        return self._kept[name]

    def remove(self, name: str) -> None:
        """Takes the configuration away."""
        self.stale.written(name, self._kept.pop(name, None))

    def forget(self, name: str) -> None:
        """The bucket is gone."""
        self._kept.pop(name, None)
        self.drops.pop(name, None)
        self.stale.forget(name)

    def serve(self, call: Call) -> Reply | None:
        """The answer to a lifecycle call, or None when the call is about something else."""
        if call.service != "s3" or "BucketLifecycle" not in call.action:
            return None
        name = str(call.params.get("Bucket", ""))
        bucket(name)
        if call.action == "DeleteBucketLifecycle":
            self.remove(name)
            return Reply(204, [])
        if call.action == "PutBucketLifecycleConfiguration":
            if not has_digest(call):
                raise Refusal(
                    400, "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
                )
            now = self.put(name, call.body, call.header(SIZE_HEADER))
            return Reply(200, [(SIZE_HEADER, now.minimum_object_size)])
        kept, is_stale = self.stale.read(name, self.get(name))
        call.fault = "stale" if is_stale else None
        if kept is None:
            raise Refusal(404, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")
        headers = [("Content-Type", "application/xml"), (SIZE_HEADER, kept.minimum_object_size)]
        return Reply(200, headers, kept.document)
