"""All of preprocessing: videos to clips, or clips that are there, then the survey of them."""

from contextlib import ExitStack

from hparams import hparams
from preprocessing.options import PreprocessingOptions
from preprocessing.plan import plan_jobs
from preprocessing.survey import clip_folders, load_expert, record_of, survey
from preprocessing.workers import make_clips
from utils import distributed
from utils.devices import Precision, pick_device
from utils.files import only_user, writable_folder


def preprocess(options: PreprocessingOptions) -> int:
    """Make the clips, the report and the lists, under torchrun this process's share of the clips; returns the exit code
    of preprocess.py."""
    hp, root = hparams.override(options.hparams), options.preprocessed_root
    device = pick_device(distributed.init_processes(options.device))
    share = slice(distributed.rank(), None, distributed.world_size())
    writable_folder(options.filelists_dir, "--filelists_dir")
    folders = clip_folders(root)[share] if options.report_only else []
    jobs = [] if options.report_only else plan_jobs(options, hp)[share]
    with ExitStack() as held:
        with distributed.main_first():
            if distributed.is_main():
                held.enter_context(only_user(root, "--preprocessed_root"))
        expert = load_expert(options.syncnet_checkpoint_path, Precision("auto", device))
        made = [record_of(folder, root, hp) for folder in folders] if options.report_only else make_clips(jobs, options)
        code = survey(made, options, expert, hp)
        distributed.destroy_processes()  # once all have come this far
    return code
