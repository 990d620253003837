"""How good a classifier is, beside what is known without it, and how sure that is.

Everything here works on arrays: log probabilities, the classes that came, the times of the rows.

1. `calibration`: the prior that oversampling bent is put right, then one temperature is fitted on validation rows.
2. `baselines`: class prior, last label, what usually follows the last label, logistic regression, gradient boosting;
   fitted on train rows only, judged on the same test rows.
3. `scores` and `intervals`: accuracy, macro F1, balanced accuracy and log-loss of each, with intervals from a
   moving-block bootstrap over time; the same resamples for all, so that a lift over a baseline is a paired difference.
4. `pictures`: confusion matrix, reliability diagram and learning curves as PNG.
5. `report.evaluate` does all that, and gives one flat table of metrics with stable names.
6. `onnx_export` writes the calibrated model as ONNX, if ONNX computes what PyTorch computes; `model_card` says what
   the model is, what goes in and what comes out.

Packages that are heavy to import (scikit-learn, matplotlib, onnx) are imported where they are used; one that is
missing costs its part of the report and a warning, never the training.
"""
