"""Score a predictions file against references, as the official scripts do; prints one JSON line.

python eval/score.py --metric squad --predictions predictions.json --references dev-v1.1.json
"""

from __future__ import annotations

import dataclasses
import json
from typing import Literal

from jaxbert import cli
from jaxbert.options import option
from jaxbert.score import score_files


@dataclasses.dataclass(frozen=True)
class Options:
    metric: Literal["squad", "squad_v2", "cmrc2018"] = option("squad", "The official score.")
    predictions: str | None = option(None, "JSON: question id to answer text.")
    references: str | None = option(None, "The data set, in any form that train/qa.py reads.")
    null_odds: str | None = option(None, "For squad_v2, JSON: id to odds; finds the thresholds.")
    debug: bool = option(False, "Show the traceback of an error.")


def main() -> None:
    options = cli.parse(Options, description=__doc__)
    scores = score_files(options.metric, options.predictions, options.references, options.null_odds)
    print(json.dumps(scores))


if __name__ == "__main__":
    cli.main(main, quiet=True)
