"""Is the skill real? What is looked for in a pipeline, and in a result, before anybody believes an accuracy.

`pipeline` says what a workload shows to the audit: the rows of its blocks, what was fitted on which rows, and a way to
run all of its steps on other labels and on other bars. Then

1. `checks` look at the code's doing, since some leaks move no score: scalers fitted on train rows only, labels that
   end before the next block begins, no time stamp on two sides, no look ahead in a feature, no foreign row in an epoch;
2. `twins` send data without anything to learn through the same steps (bars whose directions were drawn by a coin,
   labels shuffled in blocks) and ask two models that memorise: what they know above chance, the pipeline has told them;
3. `ceiling` looks at the trained model's result: more than the best possible is a leak, more than has ever been
   honest asks for a person, and accuracy without likelihood is no skill.

A finding is data: a code of `codes`, what to do about it, and a message with the numbers. `run` puts them together;
`market` and `steps` show the market training to it, with the functions that the training itself calls.
"""
