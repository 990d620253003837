"""Why each default of the workload `market-classifier` is what it is: one sentence or two for people.

Beside `market_hyperparameters`, by name; a test holds both to the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MARKET_REASONS: Final[Mapping[str, str]] = {
    "epochs": (
        "With scheduler_t_0 10 and scheduler_t_mult 2 the cosine cycles end after 10, 30, 70 and 150 epochs: "
        "150 is four whole cycles. Early stopping usually ends training sooner."
    ),
    "batch_size": (
        "Large enough that one odd window does not steer a step, small enough to take some hundred steps an "
        "epoch on a few years of hourly bars."
    ),
    "gradient_accumulation_steps": (
        "A batch of 128 windows fits every machine that trains this model; when memory runs out the trainer "
        "halves the micro-batch by itself and keeps the effective batch."
    ),
    "learning_rate": (
        "Low on purpose: price bars are nearly all noise, and a slow rate over many epochs remembers less of "
        "it. Small models on few epochs want 1e-3 (preset `development`)."
    ),
    "min_learning_rate": "1/500 of the default rate: below it training has as good as stopped.",
    "weight_decay": (
        "AdamW's own default. At a rate of 5e-5 it shrinks weights by a few per cent in a whole training: a "
        "brake, no cure."
    ),
    "lr_scheduler": (
        "Each restart leaves the minimum that the cycle before it settled in, and every cycle ends at a rate "
        "near 0, where the best weights of the cycle are found."
    ),
    "scheduler_t_0": "A first result after ten epochs shows early whether data and labels hold anything.",
    "scheduler_t_mult": "Cycles of 10, 20, 40 and 80 epochs: ever slower descents, in four starts instead of 15.",
    "scheduler_step_size": "A third of the default 150 epochs: two drops in one training.",
    "scheduler_gamma": "torch's own default for StepLR, so that the name means what people know.",
    "warmup_epochs": (
        "AdamW's second moments average over about 1,000 steps; five epochs of some hundred steps let them settle."
    ),
    "early_stopping_patience": (
        "The source's value. It is shorter than the third and fourth cosine cycle (40 and 80 epochs), so it "
        "is judged at the end of a cycle, where losses can be compared."
    ),
    "lr_plateau_patience": "Half of early_stopping_patience: a lower rate gets its chance before training ends.",
    "lr_plateau_factor": "Halving is felt within epochs, and leaves room for eight halvings above the floor.",
    "emergency_lr_factor": "What diverges needs another order of magnitude, not a nudge.",
    "max_lr_rescues": (
        "Three tenths make a thousandth: if that does not hold, the rate is not the cause, and more only hides it."
    ),
    "max_grad_norm": (
        "Norms of a healthy training lie below 5, measured before clipping and unscaled: whole steps pass, "
        "outliers do not."
    ),
    "adaptive_clipping": (
        "Norms fall by an order of magnitude in training: a limit that fits the first epoch lets everything "
        "through in the last."
    ),
    "emergency_grad_norm": "The source's limit: 200 times what is clipped anyway, so no healthy run comes near it.",
    "quarantine": (
        "One poisoned window comes back every epoch: leaving it out costs one sample, rolling back costs an "
        "epoch and meets it again."
    ),
    "dropout": "High, because a market's signal is weak: what few units carry is mostly memory of noise.",
    "label_smoothing": (
        "The next bar is a coin that leans a little: nobody can be sure of its class, and a loss that rewards "
        "being sure is wrong."
    ),
    "use_augmentation": "The same window never comes twice, so it cannot be learnt by heart digit by digit.",
    "gaussian_noise_std": "One per cent of a feature's own spread: under the noise that quotes have anyway.",
    "use_focal_loss": (
        "The source's choice for uneven classes. It costs no accuracy, but its probabilities are too timid "
        "(ECE .167 against .037): a temperature is fitted afterwards; preset `calibrated` does without."
    ),
    "focal_gamma": "The source's value; a little above 2, which the paper on focal loss found best.",
    "use_oversampling": (
        "With a wide dead zone nearly all bars are flat; a batch would hold a handful of moves. The shift of "
        "the prior is undone before probabilities are judged."
    ),
    "oversample_ratio": "Half as many as the largest class: enough to be learnt, few enough not to be memorised.",
    "use_class_weights": (
        "Oversampling does the same already; focal loss, weights and oversampling together correct three times."
    ),
    "window": "One day of hourly bars, with its daily pattern.",
    "horizon": "The next bar: labels of neighbouring windows then do not overlap, and rows count whole.",
    "dead_zone": "0.43 standard deviations on either side of 0 hold a third of normal returns.",
    "hidden_size": "Some 40,000 weights for some ten thousand windows: more would only learn the noise sooner.",
    "lstm_layers": "A window of 24 bars is short; a second layer doubles the slowest part of the model.",
    "attention_heads": "Twelve channels a head at the default size; every allowed size is a multiple of four.",
    "validation_share": "It chooses weights and ends training: enough rows for that, none wasted.",
    "test_share": "An accuracy on 1,000 rows is uncertain by 3 points: the test block is the larger one.",
    "embargo": "As long as the window: no test window shares a bar with a training window.",
    "precision": (
        "bfloat16 has float32's range: half the memory, and no scaler that could hide a norm. float16 needs one."
    ),
    "device": "The same manifest trains on a laptop and in a cluster.",
    "leak_audit": "A leak makes every other number worthless, shows in none of them, and takes seconds to find.",
    "evaluation": "A score means nothing without what a simple model gets on the same rows.",
    "export_onnx": "Who serves the model needs neither torch nor this code.",
    "seed": "Fixed, so that two runs of one manifest are the same run.",
}
