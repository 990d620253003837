"""Market direction from price bars: the workload `market-classifier`.

`bars` reads and judges OHLCV rows; `features` computes about thirty numbers per bar from that bar and those before it;
`labels` says whether the price went up, down or nowhere `horizon` bars later; `split` cuts time into train, validation
and test so that no label of one block reaches the next; `model` is the network; `evaluation` judges it beside the class
prior; `workload` puts them together for the engine.
"""
