"""Market direction from price bars or ready-made feature tables: the workload `market-classifier`.

A file is read in chunks (`cells`, `times`, `instruments`) as bars (`bars`) or as a table (`tables`). `features` makes
about thirty numbers per bar from that bar and those before it, `labels` says whether the price went up, down or nowhere
`horizon` bars later, and `store` keeps what was computed. `inputs` makes one `dataset` of any source: rows by
instrument, oldest first. `split` cuts time into train, validation and test, for all instruments at once, so that no
label of one block reaches the next; `scaler` standardises by the train rows; `checks` compares the blocks' columns;
`balance` and `losses` deal with rare classes. `model` is the network; `evaluation` judges it beside the class prior;
`workload` puts them together for the engine.
"""
