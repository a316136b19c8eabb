# What the rules share: the active study, and the environment of their jobs.

import gc
import os
import shlex
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.current_basedir).parents[1]  # also as a module of others
sys.path.insert(0, str(ROOT / "workflow"))

from stoirec.config.fit import ROUNDING_MEANING
from stoirec.config.regime import load_regime
from stoirec.config.study import load_study, workflow_settings
from stoirec.errors import BadInput
from stoirec.report.contents import chapter_names
from stoirec.study import budget
from stoirec.study import expansion as studies
from stoirec.study import packs
from stoirec.study.plans import definition
from stoirec.study.store import Store, StudyFolder

# --- the study ------------------------------------------------------------------------

IS_MODULE = not workflow.modifier.is_main_snakefile()

try:
    _settings = workflow_settings(config, IS_MODULE)
    STORE, STUDY_FILE = Store(_settings.results), _settings.study
    STUDY, _fits = studies.expand(STUDY_FILE)
    DATA_SETS = studies.data_sets(STUDY)
    FOLDER = StudyFolder(STUDY.results_dir)  # tables and report are the study's own
    OTHER = STUDY.compare_study and StudyFolder(
        load_study(STUDY.compare_study).results_dir
    )
    if workflow.is_main_process:
        logger.info(budget.summary(STUDY, STUDY_FILE, STORE))
except BadInput as error:
    if IS_MODULE:
        raise WorkflowError(str(error)) from None
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

gc.set_threshold(200_000)  # a plan is many small objects and no garbage: a tenth faster
WAVE = {wave.name: wave for wave in studies.waves(STUDY)}
FITS, TRAININGS = {}, {}  # by name
PACKS, PACK_OF = {}, {}  # trainings of each pack, and the pack of each
CHAPTERS = chapter_names()


def know(fits):
    """Those of later waves join when their plan is there."""
    new = [fit for fit in fits if fit.training_id not in TRAININGS]
    for fit in fits:
        FITS[fit.fit_id] = fit
        TRAININGS[fit.training_id] = fit.config.trained
    for name, trainings in packs.packs(new, STUDY.pack, STORE).items():
        PACKS[name] = trainings
        PACK_OF.update(dict.fromkeys(trainings, name))


know(_fits)


def asked(wildcards):
    return FITS[f"{wildcards.data}/{wildcards.config_id}"]


def training(wildcards):
    return TRAININGS[f"{wildcards.data}/{wildcards.config_id}"]


def trained(wildcards):
    """The fit, or the pack that it is trained in."""
    training = asked(wildcards).training_id
    in_pack = training in PACK_OF
    return STORE.pack(PACK_OF[training]) if in_pack else STORE.fit(training)


def packed(wildcards):
    return PACKS[f"{wildcards.data}/{wildcards.pack}"]


def configurations(wildcards, input):
    """What writes them, in the shell's words."""
    lines = []
    for name in packed(wildcards):
        content = TRAININGS[name].model_dump_json(exclude_defaults=True)
        path = STORE.config(name)
        folder, path, content = map(shlex.quote, (str(path.parent), str(path), content))
        lines.append(f"mkdir -p {folder}; printf '%s\\n' {content} > {path}")
    return "; ".join(lines)


def configs_and_fits(wildcards, input):
    """The options that name them."""
    return " ".join(
        f"--config {shlex.quote(str(STORE.config(name)))} -o {shlex.quote(str(STORE.fit(name)))}"
        for name in packed(wildcards)
    )


def recoveries(wildcards):
    """What a table or a choice is made from: the fits of the waves before wildcards.wave, or all."""
    found = {}
    for wave in WAVE.values():
        if wave.name == getattr(wildcards, "wave", None):
            break
        if wave.planned:
            checkpoints.choose.get(
                wave=wave.name
            )  # Snakemake comes back when the plan is there
        fits = studies.fits_of(STUDY, wave, STUDY_FILE)
        know(fits)
        found |= {STORE.recovery(fit.fit_id): None for fit in fits}
    return list(found)


def other_tables(wildcards):
    """The tables of compare_study, if its workflow has written them."""
    return [OTHER.metrics] if OTHER and OTHER.metrics.exists() else []


wildcard_constraints:
    data=r"\w+-seed\d+",
    config_id=r"[^/]+",
    pack=r"\d+-[0-9a-f]{10}",
    wave=r"\w+(-\d+)?",


# --- the jobs -------------------------------------------------------------------------

# This Python stands first, so that .venv/bin/snakemake needs no activated environment; a conda environment of a rule
# comes before it. PYTHONPATH goes into the command, because Snakemake takes it out of a conda job's environment.
# A command ends with `exec`: no shell stands between Snakemake and the job, and dies of a signal before a checkpoint is
# written. A job ends with the Snakemake that started it, $PPID.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
)
shell.prefix(
    "set -euo pipefail; "
    f"export PYTHONPATH={shlex.quote(str(ROOT / 'workflow'))} "
    "JUPYTER_PREFER_ENV_PATH=1; "  # our python3 kernel, not one of the user's
)


# --- one run per directory --------------------------------------------------------------

# Snakemake's own lock outlives a killed run and must be removed by hand; this one ends with its process.
_running = FileLock(".snakemake/running.lock")


onstart:
    if workflow.local_exec:
        # Snakemake 9.27 looks for new jobs once more a second for every job that is done, to hold a limit of jobs a
        # second: after hundreds of them it is busy with nothing else. Here cores are the limit.
        workflow.scheduler.job_rate_limiter = None
    try:
        _running.acquire(timeout=0)
    except Timeout:
        raise WorkflowError(
            "another snakemake is running here: wait for it, or stop it"
        )
    except NotImplementedError:
        pass  # a file system without locks
