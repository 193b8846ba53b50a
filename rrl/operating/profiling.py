"""`rrl profile`: measure a grid of configurations of a model at several loads."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrl.operating.knobs import read_knobs
from rrl.operating.log import LOG
from rrl.operating.options import (
    DATA,
    REQUIRED,
    ModelOptions,
    add_options,
    option,
    refuse,
)
from rrl.operating.report import duration
from rrl.operating.requests import about, model_path, read_requests
from rrl.recording.plan import HALVES, PLANS, REPEATS, ROUNDS, Plan
from rrl.recording.profile import OTHER_WORK, read_profile
from rrl.serving.models import MODELS, build
from rrl.support.errors import UsageError, check_interrupt
from rrl.support.machine import busy_line
from rrl.support.number_options import COUNT, SEED, above_zero, whole
from rrl.tuning.presets import in_words

_EXAMPLES = """examples:
  a grid of the repository, measured on this machine:
    rrl profile mobilenet_v2-threads --out build/mine
  your SavedModel with your own requests, into data/resnet; then rehearse a tuning on it:
    rrl profile /models/resnet --sample one.json --knob inter_op=1,2 --knob batch_threads=0,2 \\
        --rates 20,60
    rrl replay resnet --rate 20
  show the plan and its size without measuring:
    rrl profile inception_v3-threads --dry-run

The knobs, and the forms of a sample, are those of `rrl tune`. Without a sample, the model's own
warm-up requests are sent, or random values.
To continue a recording that was stopped, run the same command again on the same machine.
The folders under data/ come from another machine, so their plans need --out here.
An episode beside other work is measured up to three times, so leave the machine alone meanwhile.
"""


@dataclass(frozen=True)
class ProfileOptions(ModelOptions):
    """The options of `rrl profile`."""

    model: str = option(
        REQUIRED, "a known model, a SavedModel's base path, or a named plan", metavar="MODEL"
    )
    out: Path | None = option(None, "folder (default: data/ and the name of MODEL)", type=Path)
    rates: tuple[float, ...] | None = option(
        None,
        "loads in requests/s, such as 20,60",
        type=lambda text: tuple(map(above_zero, text.split(","))),
    )
    requests: int = option(100, "requests per episode (default 100)", type=COUNT)
    passes: int = option(2, "passes over the grid (default 2)", type=COUNT)
    seed: int = option(0, "seed of the run (default 0)", type=SEED)
    finals: int = option(
        0,
        "then measure the N best of each half and load again (default 0)",
        type=whole(0, 10**6),
        metavar="N",
    )
    dry_run: bool = option(False, "show the plan; measure nothing")


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    profile = commands.add_parser(
        "profile",
        help="measure a grid of configurations; it can be stopped and continued",
        description="Measure every configuration of a grid at several loads, then the best again.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_options(profile, ProfileOptions, _profile)


def _profile(options: ProfileOptions) -> None:
    plan, base, own = _plan(options)
    name = Path(options.model).resolve().name
    size = f"{name}: {len(plan.space)} configurations, {plan.episodes} episodes, {_duration(plan)}"
    if options.dry_run:
        print(f"{size}\n{_listed(plan)}")
        return
    from tqdm import tqdm  # a plan needs none of them

    from rrl.recording.record import Recorder, check_gpu
    from rrl.serving.live import LiveServer

    folder = options.out or DATA / name
    LOG.info(size)
    if plan.gpu:
        check_gpu()
    own |= {"executable": options.executable, "start_timeout_s": options.start_timeout}
    bar = None
    with LiveServer(base or build(plan.model), plan.space, fixed=plan.fixed, **own) as server:
        for done, episode in Recorder(plan, folder, server).run():
            if bar is None:
                bar = tqdm(None, name, plan.episodes, initial=done - 1, unit="episode")
            bar.set_postfix_str(f"{1e3 * episode.latency.mean():.1f} ms", refresh=False)
            bar.update()
            check_interrupt()
    if bar is not None:
        bar.close()
    LOG.info(f"complete: {folder}")
    if busy := busy_line(read_profile(folder).table[[*OTHER_WORK]].to_dict("records")):
        LOG.warning(busy)


def _listed(plan: Plan) -> str:
    """Say what a plan measures, one line per subject."""
    lines = [f"  {name}: {', '.join(map(str, values))}" for name, values in plan.knobs.items()]
    lines.append(f"  fixed: {in_words(plan.fixed) or 'nothing'}")
    lines.append(f"  loads: {', '.join(f'{rate:g}' for rate in plan.rates_per_s)} requests/s")
    lines.append(f"  {plan.requests} requests per episode, {plan.passes} passes, seed {plan.seed}")
    lines.append(f"  finals: the {plan.finalists} best of each half and load, again")
    return "\n".join(lines if plan.finalists else lines[:-1])


def _duration(plan: Plan) -> str:
    """Say how long a recording takes."""
    grid = plan.passes * plan.seconds(len(plan.space), plan.repeats)
    best = min(plan.finalists, len(plan.space))
    finals = len(HALVES) * ROUNDS * plan.seconds(best, REPEATS)
    more = f" and at least {duration(finals)} for the finals" if finals else ""
    return f"about {duration(grid)} for the grid{more}, and more if a load is too high to serve"


def _plan(options: ProfileOptions) -> tuple[Plan, Path | None, dict[str, Any]]:
    """Return the plan, and of one's own model the base path, the requests and the signature."""
    known = options.model in MODELS
    if options.model in PLANS:
        names = ("knob", "rates", "requests", "passes", "seed", "finals", "sample", "signature")
        refuse(options, names, "on a named plan: name a model for your own plan")
        return PLANS[options.model], None, {}
    if not known and not Path(options.model).exists():
        raise UsageError(
            f"unknown plan or model {options.model!r}; known: {', '.join((*PLANS, *MODELS))}; "
            "or give a SavedModel's base path"
        )
    if options.rates is None:
        raise UsageError("give the loads in requests/s: --rates 20,60")
    requests, largest = read_requests(options, options.seed)
    knobs, fixed = read_knobs(options.knob, largest)
    if not knobs:
        raise UsageError("give the grid, at least one knob with two values: --knob inter_op=1,2")
    name, what, base, own = options.model, None, None, {}
    if not known:
        base = model_path(options.model)
        name, what = base.resolve().name, about(options)
        own = {"inputs": requests, "signature": options.signature}
    plan = Plan(
        name, knobs, options.rates, requests=options.requests, passes=options.passes, fixed=fixed,
        seed=options.seed, finalists=options.finals, about=what,
    )  # fmt: skip
    return plan, base, own
