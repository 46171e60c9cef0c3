"""Rows of tables that are not read at once: Parquet files, and data sets of the Hub as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxbert.data.rows import Fields, RowStream
from jaxbert.data.sources import check_parquet, hub_stream, readable_by_datasets

_BATCH = 1024  # rows of a Parquet file that are in memory at once


def parquet_stream(path: str) -> RowStream:
    """The rows of a Parquet file.

    Raises:
        InputError: the file is missing or damaged; also where a row is read.
    """
    import pyarrow.parquet as pq

    check_parquet(path)

    def read(names: list[str]) -> Iterator[Fields]:
        with readable_by_datasets(path), pq.ParquetFile(Path(path)) as file:
            for batch in file.iter_batches(_BATCH, columns=names):
                yield from batch.to_pylist()

    with readable_by_datasets(path):
        return RowStream(list(pq.read_schema(path).names), read)


def data_set_stream(name: str, config: str | None, split: str) -> RowStream:
    """The rows of a data set as load_hub_rows finds it, without a download.

    Raises:
        MissingSplitError: the data set exists, but not the split.
        InputError: it cannot be read; also where a row is read.
    """
    origin, stream = hub_stream(name, config, split)
    with readable_by_datasets(origin):
        names = list(stream.column_names or next(iter(stream), {}))

    def read(names: list[str]) -> Iterator[Fields]:
        with readable_by_datasets(origin):
            yield from stream.select_columns(names)

    return RowStream(names, read)
