"""Two tasks on one encoder: a class for each sentence and a tag for each word, with a head each.

A step trains one of them, by fixed shares. Started again it resumes at its newest checkpoint, to
the bit. In the end each task has a folder, which `jaxbert eval` and predictors open.
"""

import sys

import jax

import jaxbert
from jaxbert.data.task_shares import TaskShares
from jaxbert.demo import CLASSIFICATION, TAGGING
from jaxbert.loaded.shared_encoder import SharedEncoder
from jaxbert.runs.opened_task import checkpointed, open_task
from jaxbert.training.optim import adamw, make_schedule

DEMOS = {"classification": CLASSIFICATION, "tagging": TAGGING}
TURNS = TaskShares({"classification": 2, "tagging": 1}, seed=0)


def main(folder="runs/two_tasks", model="minilm-l6", steps=240, rows=8, every=30):
    opened = {n: open_task(n, model, demo["train_file"], rows) for n, demo in DEMOS.items()}
    shared = SharedEncoder({n: task.model for n, task in opened.items()})
    tx = adamw(make_schedule(2e-4, steps=steps, warmup_steps=steps // 10), weight_decay=0.01)
    step_of = {n: task.make_step(tx, shared.apply(n, task.apply)) for n, task in opened.items()}
    with checkpointed(f"{folder}/checkpoints", shared.params, tx) as (first, state, save):
        for number in range(first, steps):
            name, of_task = TURNS.draw(number)
            state, metrics = step_of[name](state, opened[name].batch(of_task), jax.random.key(1))
            if (number + 1) % every == 0:
                print(f"step {number + 1}: {name} loss {metrics['loss'].mean():.3f}")
                save(state)
        shared.save(folder, save(state).params)
    files = {n: {"model": f"{folder}/{n}", "data": d["validation_file"]} for n, d in DEMOS.items()}
    return {n: jaxbert.evaluate(n, **given).scores for n, given in files.items()}


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
