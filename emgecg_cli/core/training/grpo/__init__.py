"""Group-relative policy optimisation of a trained run, rewarded by the recordings that its reports are held against.

Of each record some reports are drawn, each is rewarded, and those better than the others of their record become
likelier (Shao et al. 2024, "DeepSeekMath"), not far from the run it starts from.
"""
