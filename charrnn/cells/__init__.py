"""Recurrent cells by name; charrnn/README.md says how to add one."""

from charrnn.cells.base import Cell
from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.rnn import RNN_RELU, RNN_SIGMOID, RNN_TANH

__all__ = ["CELLS", "Cell"]

CELLS = {cell.name: cell for cell in (LSTM, GRU, RNN_TANH, RNN_RELU, RNN_SIGMOID)}
