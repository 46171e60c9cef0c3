"""An average of the parameters over the steps: is it better than the last ones, and how smooth?

Trains twice with the same data, masks and steps, which the average does not change; so the two
curves are of one training, judged by its parameters and by their moving average.
"""

import sys

import jaxbert
from jaxbert.demo import CLASSIFICATION


def curve(run):
    return {e["step"]: e["eval_loss"] for e in run.history if "eval_loss" in e}


def main(**settings):
    demo = {**CLASSIFICATION, "eval_steps": 15, **settings}
    folder = str(demo.pop("output_dir", "runs/ema"))
    plain = jaxbert.train("classification", output_dir=f"{folder}/plain", **demo)
    run = jaxbert.train("classification", output_dir=f"{folder}/ema", ema_decay=0.9, **demo)
    last, average = curve(plain), curve(run)
    for step in last:
        print(f"step {step:4}: eval_loss {last[step]:.4f}, of the average {average[step]:.4f}")
    return run


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/ema").scores)
