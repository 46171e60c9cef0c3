r"""Find the threshold of no answer (SQuAD v2.0) and calibrate the confidence of answers.

    python eval/calibrate.py --model_name_or_path runs/squad2 --validation_file dev-v2.0.json

Half of the paragraphs are fitted to, the other half is reported on. eval/qa.py and QuestionAnswerer
use what is found; --null_score_diff_threshold and --score_temperature override it.
"""

from typing import Any

from jaxbert.cli import command_line
from jaxbert.cli.commands import options_of_training
from jaxbert.options.settings import CalibrateOptions, QAOptions
from jaxbert.runs.calibrate import calibrate
from jaxbert.tasks.qa import QA


def main() -> None:
    def defaults(options: Any) -> dict[str, Any]:
        return options_of_training(QA, QAOptions, options, calibrated=False)

    calibrate(command_line.parse(CalibrateOptions, defaults=defaults, description=__doc__))


if __name__ == "__main__":
    command_line.main(main)
