"""Suggest what an unknown name may mean.

Suggestions go by meaning first: the names that other trainers give to our options. Similar
spelling comes second, and must be close. Options that delete anything are never suggested.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_DESTROYS = {"fresh"}

# Our options, and their names in timm, torchvision, Lightning, transformers, Keras and YOLO.
_OTHERS = {
    "loss": "criterion loss_fn loss_function loss_type loss_name",
    "model": "arch architecture a net network backbone model_name model_type encoder",
    "dataset": "data_set dataset_name dset",
    "data_dir": "data data_path data_root root dataset_dir dataset_path dataroot datadir",
    "image_size": "img_size imgsz input_size resolution crop_size image_resolution img_dim",
    "epochs": "epoch num_epochs n_epochs nb_epochs max_epochs num_train_epochs train_epochs ep e",
    "batch_size": "b bs batch batchsize train_batch_size global_batch_size batch_size_train "
    "per_device_train_batch_size per_gpu_batch_size mini_batch_size",
    "lr": "learning_rate learningrate base_lr max_lr peak_lr init_lr initial_lr lr0 lr_rate eta",
    "momentum": "sgd_momentum mom m beta",
    "weight_decay": "wd decay l2 l2_reg weightdecay weight_decay_rate",
    "schedule": "scheduler sched lr_scheduler lr_schedule lr_scheduler_type lr_policy lr_decay "
    "scheduler_type",
    "warmup": "warmup_ratio warmup_epochs warmup_steps warmup_fraction lr_warmup_epochs pct_start",
    "milestones": "lr_steps lr_step lr_milestones decay_epochs step_size lr_step_size steps",
    "clip_norm": "clip clip_grad grad_clip clip_grad_norm max_grad_norm gradient_clip_val "
    "gradient_clip gradient_clipping max_norm",
    "seed": "random_seed manual_seed rng_seed random_state seed_everything",
    "val_size": "val_split validation_split val_ratio val_fraction valid_size valid_split val_pct",
    "imbalance": "imb_factor imbalance_factor imbalance_ratio imb_ratio",
    "train_size": "max_train_samples limit_train_batches num_train subset subset_size",
    "train_labels": "labels label_file",
    "label_noise": "noise noise_rate noise_ratio noisy_labels",
    "class_weights": "class_weight weights balanced pos_weight",
    "augment": "augmentation data_augmentation aug aa auto_augment autoaugment randaugment",
    "cutout": "reprob random_erase random_erasing erase",
    "mixup": "mixup_alpha mix_up",
    "cutmix": "cutmix_alpha cut_mix",
    "teacher": "teacher_path teacher_model kd distill distillation",
    "temperature": "kd_temperature kd_t",
    "mixed_precision": "amp fp16 bf16 precision dtype half float16 bfloat16 use_amp native_amp",
    "compile": "torchcompile torch_compile use_compile dynamo dynamo_backend",
    "grad_accum": "gradient_accumulation_steps accumulate_grad_batches accum_iter "
    "grad_accum_steps accumulation_steps grad_accumulation gradient_accumulation",
    "sync_bn": "syncbn sync_batchnorm sync_batch_norm",
    "threads": "num_threads cpu_threads omp_num_threads",
    "checkpoint_every": "save_freq save_every save_interval save_steps checkpointing_steps "
    "checkpoint_freq checkpoint_interval",
    "output": "out o out_dir output_dir outdir save_dir save_path savedir logdir log_dir work_dir "
    "checkpoint_dir ckpt_dir default_root_dir results_dir run_dir",
    "name": "run_name exp_name experiment_name run_id exp",
    "study": "experiment sweep",
    "wandb": "use_wandb wandb_mode report_to logger no_wandb log_wandb track with_tracking",
    "project": "wandb_project project_name wandb_project_name",
    "group": "wandb_group",
    "tags": "wandb_tags tag",
    "optimizer": "optim opt optimiser",
    "ema": "model_ema ema_decay model_ema_decay",
    "freeze": "freeze_backbone linear_probe",
}
_MEANT = {other: ours for ours, others in _OTHERS.items() for other in others.split()}

# Names that are not options here, with the reason. If an option with the first name of a group is
# added, it is suggested instead.
_SAID = {
    "resume resume_from resume_from_checkpoint auto_resume resume_path continue continue_training "
    "checkpoint ckpt ckpt_path load load_from start_epoch restart": "the same command again "
    "continues a run that was stopped",
    "gpus gpu gpu_id gpu_ids devices device n_gpu ngpu ngpus num_gpus num_devices cuda no_cuda "
    "cpu accelerator world_size nproc_per_node num_processes nodes num_nodes strategy distributed "
    "dist multi_gpu": "`accelerate launch --multi_gpu --num_processes N train.py ...` trains on N "
    "GPUs, CUDA_VISIBLE_DEVICES chooses which, ACCELERATE_USE_CPU=true takes the CPU",
    "workers num_workers n_workers j dataloader_num_workers worker nw": "images are held in "
    "memory, without workers; --threads sets the threads of the CPU",
    "smoothing label_smoothing ls": "did you mean --loss label_smoothing:smoothing=0.1?",
    "gamma focal_gamma focal": "did you mean --loss focal:gamma=2? (--schedule multistep divides "
    "the learning rate by 10)",
    "margin": "did you mean --loss hinge:margin=1?",
    "num_classes n_classes nb_classes classes nclass": "the data set says how many classes there "
    "are",
    "weights_path finetune": "did you mean --pretrained, with --model timm:NAME?",
    "overwrite force clean overwrite_output_dir": "a finished run is left alone; --help says how "
    "to train it anew",
}
_REASONS = {
    name: (names.split()[0], reason) for names, reason in _SAID.items() for name in names.split()
}

# Other names of values, and ours.
_VALUES = {
    "fp32": "no",
    "float32": "no",
    "32": "no",
    "float16": "fp16",
    "half": "fp16",
    "16": "fp16",
    "bfloat16": "bf16",
    "step": "multistep",
    "steps": "multistep",
    "cos": "cosine",
    "cosine_annealing": "cosine",
    "one_cycle": "onecycle",
    "1cycle": "onecycle",
    "fixed": "constant",
    "imagefolder": "folder",
    "custom": "folder",
    "cifar": "cifar10",
    "trivialaugment": "trivial",
    "off": "disabled",
}


def for_option(name: str, known: Collection[str]) -> str:
    """A hint at what an unknown option may mean; empty if there is none.

    Args:
        name: the option as written, without leading dashes.
        known: names of the existing options.

    Example:
        >>> for_option("learning-rate", ["lr", "temperature"])
        '; did you mean --lr?'
        >>> for_option("frsh", ["fresh"])
        ''
    """
    name = re.sub(r"\W", "_", name.lower())
    said, reason = _REASONS.get(name, ("", ""))
    if reason and said not in known:
        return f"; {reason}"
    harmless = [option for option in known if option not in _DESTROYS]
    meant: str | None = _MEANT.get(name, said)
    if meant not in harmless:
        meant = next(iter(difflib.get_close_matches(name, harmless, n=1, cutoff=0.7)), None)
    return f"; did you mean --{meant.replace('_', '-')}?" if meant else ""


def for_value(value: str, choices: Collection[str]) -> str:
    """A hint at which of the choices a value may mean; empty if there is none."""
    meant = _VALUES.get(value.lower())
    if meant not in choices:
        meant = next(iter(difflib.get_close_matches(value, choices, n=1, cutoff=0.5)), None)
    return f"; did you mean {meant}?" if meant else ""
