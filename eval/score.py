"""Score a predictions file against references; prints one JSON line.

python eval/score.py --metric squad --predictions predictions.json --references dev-v1.1.json
python eval/score.py --metric tagging --predictions predictions.json --references dev.conll
"""

from __future__ import annotations

import json

from jaxbert.cli import command_line
from jaxbert.options.settings import ScoreOptions
from jaxbert.runs.score_questions import score_files
from jaxbert.runs.score_rows import score_rows


def main() -> None:
    options = command_line.parse(ScoreOptions, description=__doc__)
    files = options.predictions, options.references
    if options.metric in ("squad", "squad_v2", "cmrc2018"):
        scores = score_files(options.metric, *files, options.null_odds, strict=options.strict)
    else:
        scores = score_rows(options.metric, *files, options)
    print(json.dumps(scores))


if __name__ == "__main__":
    command_line.main(main, quiet=True)
