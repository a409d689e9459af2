"""Control of buckets: their objects, owners and lifecycle configurations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.s3.exceptions import S3ClientError
from moto.s3.models import s3_backends

from .app import StandIn
from .call import Refusal
from .lossy import named
from .owner import bucket, store
from .wish import BadWish, Fields, Query


class Buckets:
    """Routes about buckets; a lifecycle document is validated as if it came through S3."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._serial = stand_in.serial

    def create(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("name", str)
        versioning = fields.maybe("versioning", bool)
        document = fields.maybe("lifecycle", str)
        owner = fields.maybe("owner", str)
        fields.done()
        with self._serial:
            try:
                store().create_bucket(name, self._stand_in.ground.region)
            except S3ClientError as refused:
                code = str(getattr(refused, "error_type", "") or refused.code)
                raise Refusal(409, code, f"bucket {name} cannot be made: {code}") from refused
            try:
                if document is not None:
                    self._stand_in.lifecycles.put(name, document.encode(), None)
            except Refusal:
                self._drop(name)
                raise
            if versioning:
                store().put_bucket_versioning(name, "Enabled")
            if owner is not None:
                self._stand_in.owners.set(name, owner)
        return {}

    def delete(self, query: Query, wish: Any) -> Any:
        with self._serial:
            self._drop(bucket(query.need("name")).name)
        return {}

    def _drop(self, name: str) -> None:
        dropped = store().buckets.pop(name)
        s3_backends.bucket_accounts.pop(name, None)
        for key in list(dropped.keys):
            dropped.keys.pop(key)
        self._stand_in.forget_bucket(name)

    def add_objects(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("bucket", str)
        objects = [_object(one) for one in fields.need("objects", list)]
        fields.done()
        with self._serial:
            bucket(name)
            for key, content, modified in objects:
                made = store().put_object(name, key, content, disable_notification=True)
                if modified is not None:
                    made.last_modified = datetime.fromtimestamp(modified / 1000, UTC).replace(tzinfo=None)
        return {"added": len(objects)}

    def objects(self, query: Query, wish: Any) -> Any:
        prefix = query.get("prefix", "")
        with self._serial:
            keys = bucket(query.need("bucket")).keys
            found = [(str(key), keys[key]) for key in keys if str(key).startswith(prefix)]
            return [
                {"key": key, "size": newest.size}
                for key, newest in sorted(found, key=lambda pair: pair[0])
                if hasattr(newest, "size")  # a delete marker has none
            ]

    def lifecycle(self, query: Query, wish: Any) -> Any:
        with self._serial:
            kept = self._stand_in.lifecycles.get(bucket(query.need("bucket")).name)
        if kept is None:
            return {"document": None, "minimum_object_size": None}
        return {
            "document": kept.document.decode("utf-8", "surrogateescape"),
            "minimum_object_size": kept.minimum_object_size,
        }

    def put_lifecycle(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name = fields.need("bucket", str)
        document = fields.maybe("document", str)
        size = fields.maybe("minimum_object_size", str)
        fields.done()
        with self._serial:
            bucket(name)
            if document is None:
                self._stand_in.lifecycles.remove(name)
            else:
                self._stand_in.lifecycles.put(name, document.encode(), size)
        return {}

    def put_drops(self, query: Query, wish: Any) -> Any:
        fields = Fields(wish)
        name, drops = fields.need("bucket", str), named(fields.need("fields", list))
        fields.done()
        with self._serial:
            self._stand_in.lifecycles.drops[bucket(name).name] = drops
        return {}


def _object(value: Any) -> tuple[str, bytes, int | None]:
    fields = Fields(value)
    key, size, text = fields.need("key", str), fields.maybe("size", int), fields.maybe("text", str)
    modified = fields.maybe("modified", int)
    fields.done()
    if (size is None) == (text is None):
        raise BadWish(f"object {key}: give either size (bytes) or text")
    return key, text.encode() if text is not None else bytes(size or 0), modified
