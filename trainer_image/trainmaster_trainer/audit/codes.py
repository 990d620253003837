"""Names of what an audit finds; they stand in metrics, in model cards and in messages."""

from __future__ import annotations

from typing import Final

BLOCKS_SHARE_TIMES: Final = "BlocksShareTimes"
LABEL_REACHES_NEXT_BLOCK: Final = "LabelReachesNextBlock"
EMBARGO_TOO_SHORT: Final = "EmbargoTooShort"
FITTED_ON_OTHER_ROWS: Final = "FittedOnOtherRows"
SCALER_KNOWS_OTHER_ROWS: Final = "ScalerKnowsOtherRows"
EPOCH_VISITS_OTHER_ROWS: Final = "EpochVisitsOtherRows"
FEATURE_SEES_FUTURE: Final = "FeatureSeesFuture"
TWIN_ABOVE_CHANCE: Final = "TwinAboveChance"
TWIN_BELOW_CHANCE: Final = "TwinBelowChance"
SHUFFLED_LABELS_ABOVE_CHANCE: Final = "ShuffledLabelsAboveChance"
SHUFFLED_LABELS_BELOW_CHANCE: Final = "ShuffledLabelsBelowChance"
AUDIT_INCOMPLETE: Final = "AuditIncomplete"
ABOVE_CEILING: Final = "AboveCeiling"
LIFT_TOO_GOOD: Final = "LiftTooGood"
F1_TOO_GOOD: Final = "F1TooGood"
NOT_CALIBRATED: Final = "NotCalibrated"
NO_SKILL_SHOWN: Final = "NoSkillShown"
