"""Data that is made, so that the best possible result is known: a hidden Markov chain, and the twin of real bars.

`hmm` draws a chain of hidden states. A row keeps its state with probability `stay`, else it draws one from the prior;
it shows the state through Gaussian noise, and its label is the state, or with probability `label_noise` another class.
The probability of each class given a window of rows follows exactly from the forward algorithm, begun at the prior: so
accuracy and log-loss of the best possible classifier are known for every set of rows.

`coinflip` keeps each bar's size, range, volume and time, and flips its direction with a fair coin: what predicts it
above one half has seen the future.

`ceiling` says what no honest result exceeds.
"""
