"""The presets of the workload `market-classifier`: for whom, what they cost, and why each value is what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trainmaster.api.hyperparameters import Scalar


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One hyperparameter of a preset."""

    value: Scalar
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Hyperparameters that fit together."""

    name: str
    purpose: str
    """For whom, in one sentence."""
    cost: str
    """What training with it takes, in one sentence."""
    choices: Mapping[str, Choice]


def _preset(name: str, *, purpose: str, cost: str, **choices: tuple[Scalar, str]) -> Preset:
    made = {parameter: Choice(value=value, reason=reason) for parameter, (value, reason) in choices.items()}
    return Preset(name=name, purpose=purpose, cost=cost, choices=made)


def _by_name(*presets: Preset) -> Mapping[str, Preset]:
    return {preset.name: preset for preset in presets}


MODEL_PRESETS: Final = _by_name(
    _preset(
        "development",
        purpose="To see whether data, labels and manifest fit together.",
        cost="About 5,000 weights; a step takes half the time of production-small.",
        hidden_size=(16, "Learns what is easy to learn, within seconds."),
        lstm_layers=(1, "One is enough for short windows."),
        attention_heads=(2, "Eight channels a head."),
        dropout=(0.1, "A model this small has little to forget."),
    ),
    _preset(
        "production-small",
        purpose="For some ten thousand windows, such as years of hourly bars of one instrument; trains on two cores.",
        cost="About 40,000 weights; the measure for the others.",
        hidden_size=(48, "On hourly bars of Bitcoin 48 units were better calibrated than gradient boosting."),
        lstm_layers=(1, "The slowest part of the model: a second layer doubles it."),
        attention_heads=(4, "Twelve channels a head."),
        dropout=(0.4, "The windows are few and noisy: without it the noise is learnt by heart."),
    ),
    _preset(
        "production",
        purpose="For some hundred thousand windows: many instruments, or bars of minutes.",
        cost="About 220,000 weights; a step takes two to three times that of production-small; a GPU helps.",
        hidden_size=(96, "More data bear more weights: five times as many for ten times the windows."),
        lstm_layers=(2, "Enough data for a second layer to find something."),
        attention_heads=(4, "24 channels a head."),
        dropout=(0.3, "More windows need less of it."),
    ),
    _preset(
        "source-v2",
        purpose="The width of the trainer that this one replaces, to compare with.",
        cost="About 1,500,000 weights; a step takes ten times that of production-small: for a GPU.",
        hidden_size=(256, "The width of its attention."),
        lstm_layers=(2, "As many as it had."),
        attention_heads=(8, "As many as it had."),
        dropout=(0.4, "Its value."),
    ),
)

TRAINER_PRESETS: Final = _by_name(
    _preset(
        "development",
        purpose="To see whether data, labels and manifest fit together; its scores mean nothing.",
        cost="Three epochs, no audit and no export: seconds to a minute.",
        epochs=(3, "One to begin, one to improve, one to see that it goes on."),
        learning_rate=(1e-3, "AdamW's usual rate: three epochs at 5e-5 show nothing."),
        lr_scheduler=("constant", "Nothing to anneal in three epochs."),
        leak_audit=(False, "Nobody believes scores of three epochs."),
        export_onnx=(False, "Nobody serves this model."),
    ),
    _preset(
        "production-small",
        purpose="A result worth believing, within minutes, on two cores.",
        cost="At most 15 epochs with audit and export: minutes for 20,000 windows with the model of the same name.",
        epochs=(15, "Two cosine cycles of 5 and 10 epochs: on hourly bars the best epoch lies well before."),
        learning_rate=(1e-3, "AdamW's usual rate: a small model is done within few epochs."),
        lr_scheduler=("cosine-annealing-warm-restarts", "Ends each cycle at rates near 0, where weights are best."),
        scheduler_t_0=(5, "A first result after five epochs."),
        scheduler_t_mult=(2, "A second, slower descent from what the first has found."),
        early_stopping_patience=(6, "Judged at the end of a cycle: no better for the whole second one ends it."),
        lr_plateau_patience=(15, "Nothing but the cosine lowers the rate: its upper halves look like plateaus."),
    ),
    _preset(
        "production",
        purpose="The defaults' care with a rate that larger models bear, for a GPU or a night.",
        cost="150 epochs, fewer with early stopping: ten times production-small.",
        epochs=(150, "Four whole cosine cycles of 10, 20, 40 and 80 epochs."),
        learning_rate=(3e-4, "Between AdamW's usual rate and the source's: annealing has time to do the rest."),
        lr_scheduler=("cosine-annealing-warm-restarts", "Ends each cycle at rates near 0, where weights are best."),
        scheduler_t_0=(10, "A first result after ten epochs."),
        scheduler_t_mult=(2, "Each cycle twice as slow as the last."),
        early_stopping_patience=(20, "The source's value, judged at the end of a cycle."),
    ),
    _preset(
        "calibrated",
        purpose="For probabilities that are used as such: plain cross entropy, classes as often as they come.",
        cost="At most 12 epochs: as production-small, a little less.",
        epochs=(12, "One descent; on hourly bars of Bitcoin 12 epochs were enough."),
        learning_rate=(1e-3, "AdamW's usual rate: a small model is done within few epochs."),
        lr_scheduler=("cosine", "One descent to 0 over all epochs."),
        early_stopping_patience=(0, "The best epoch is kept anyway, and the descent is worth finishing."),
        lr_plateau_patience=(12, "Nothing but the cosine lowers the rate."),
        use_focal_loss=(
            False,
            "Focal loss is no proper score: ECE .167 with it and smoothing, .037 without (one seed).",
        ),
        label_smoothing=(0.0, "Smoothing pulls every probability towards the middle."),
        use_oversampling=(False, "Oversampling shifts the prior: what is not shifted need not be undone."),
    ),
    _preset(
        "source-v2",
        purpose="The v2 trainer's hyperparameters as they were, written out: later defaults will not change them.",
        cost="150 epochs, fewer with early stopping, at a low rate: ten times production-small.",
        epochs=(150, "Four whole cosine cycles of 10, 20, 40 and 80 epochs."),
        batch_size=(128, "The source's value."),
        learning_rate=(5e-5, "The source's value: slow, against learning noise."),
        weight_decay=(0.01, "The source's value."),
        early_stopping_patience=(20, "The source's value."),
        lr_scheduler=("cosine-annealing-warm-restarts", "The source's CosineAnnealingWarmRestarts."),
        scheduler_t_0=(10, "The source's T_0."),
        scheduler_t_mult=(2, "The source's T_mult."),
        label_smoothing=(0.1, "The source's value."),
        use_augmentation=(True, "The source's value."),
        gaussian_noise_std=(0.01, "The source's value."),
        use_focal_loss=(True, "The source's value."),
        focal_gamma=(2.5, "The source's value."),
        use_oversampling=(True, "The source's value, which the source itself ignored: here it works."),
        oversample_ratio=(0.5, "The source's value, which the source itself ignored: here it works."),
    ),
)
