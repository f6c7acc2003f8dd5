"""What both sides are told alike."""

LR = 1e-3
CLIP = 5.0
BETAS = (0.9, 0.99)  # those of our Adam, which has no others
EPS = 1e-8
TEMPERATURE = 0.8
