"""Numbers rounded to few bits."""

import numpy as np

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F32


@family
def quantization():
    for bits in [8, 4, 16]:
        for narrow in [False, True]:
            for low, high in [(-6.0, 6.0), (-1.0, 3.3), (0.5, 4.0), (-5.0, -1.0), (0.0, 0.0), (0.0, 1.0)]:
                case("FakeQuantWithMinMaxVars", inputs=rand(F32, [3, 4], -7, 7), min=np.array(low, F32), max=np.array(high, F32), num_bits=bits, narrow_range=narrow)
    case("FakeQuantWithMinMaxArgs", inputs=rand(F32, [3, 4], -7, 7))
    case("FakeQuantWithMinMaxArgs", inputs=rand(F32, [3, 4], -7, 7), min=-2.0, max=5.0, num_bits=7)
    case("FakeQuantWithMinMaxVarsPerChannel", inputs=rand(F32, [3, 4], -7, 7), min=np.array([-1, -2, -3, 0], F32), max=np.array([1, 2, 3, 4], F32))
    odd = np.array([[np.nan, np.inf, -np.inf, 1.0], [-0.0, 0.5, 5.9, np.nan]], F32)
    for low, high in [(0.0, 0.0), (0.0, 6.0), (-1.0, 3.3), (3.0, 1.0)]:
        for bound in [np.asarray, C]:
            case("FakeQuantWithMinMaxVars", inputs=odd, min=bound(F32(low)), max=bound(F32(high)))
    for bound in [np.asarray, C]:
        for low, high in [([0, 0, -1, 0], [0, 6, 3.3, 0]), ([-1, -2, -3, 0], [1, 2, 3, 4])]:
            case("FakeQuantWithMinMaxVarsPerChannel", inputs=odd, min=bound(np.array(low, F32)), max=bound(np.array(high, F32)))
