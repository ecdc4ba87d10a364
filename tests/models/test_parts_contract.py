"""What holds for every fusion and every projector in the tables; encoders have theirs in test_encoders."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from tiny_backbones import make
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.report_model import pad_prompts

TEXT, SIGNAL_TOKENS = [[5, 6, 7, 8], [9, 10]], 2


def prompts(fusion: Fusion, signals: bool) -> tuple[Tensor, Tensor]:
    """Two texts padded as the fusion wants them, with a placeholder for each signal token where it wants those."""
    own = [PLACEHOLDER] * SIGNAL_TOKENS * (fusion.placeholders and signals)
    return pad_prompts([own + ids for ids in TEXT], 0, fusion.padding_side)


def stir(fusion: Fusion) -> None:
    """Weights of its own that begin at nothing are moved away from it."""
    if isinstance(fusion, nn.Module):
        with torch.no_grad():
            for parameter in fusion.parameters():
                parameter.add_(0.3)


@pytest.mark.parametrize("name", names.choices("fusion"))
def test_every_fusion_keeps_the_contract(name: str) -> None:
    torch.manual_seed(0)
    backbone: Any = make("llama")
    ids, mask = pad_prompts(TEXT, 0, "right")
    with torch.no_grad():
        plain = backbone(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    held = {key: value.clone() for key, value in backbone.state_dict().items()}
    fusion: Fusion = names.resolve("fusion", name)(backbone, None)
    members = {key for key in vars(Fusion) if not key.startswith("_")} | set(Fusion.__annotations__)
    assert all(hasattr(fusion, member) for member in members)
    assert fusion.dim > 0 and isinstance(fusion.placeholders, bool) and fusion.padding_side in ("left", "right")
    stir(fusion)
    with torch.no_grad():
        alone = fusion.forward(None, input_ids=ids, attention_mask=mask).logits[mask.bool()]
        torch.testing.assert_close(alone, plain, atol=1e-5, rtol=1e-5)
        tokens = torch.randn(2, SIGNAL_TOKENS, fusion.dim)
        ids, mask = prompts(fusion, True)
        shown, other = (fusion.forward(given, None, input_ids=ids, attention_mask=mask).logits
                        for given in (tokens, torch.cat([tokens[:1], -tokens[1:]])))
        assert shown.shape[0] == 2 and shown.shape[-1] == plain.shape[-1]
        last = [int(mask[row].nonzero().max()) - ids.shape[1] for row in range(2)]
        assert torch.allclose(shown[0, last[0]], other[0, last[0]], atol=1e-5)  # a row sees its own signal only
        assert not torch.allclose(shown[1, last[1]], other[1, last[1]], atol=1e-4)
        new = fusion.generate(tokens, input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False,
                              eos_token_id=None, pad_token_id=0)
    assert new.shape == (2, 3)
    fusion.detach()
    ids, mask = pad_prompts(TEXT, 0, "right")
    with torch.no_grad():
        assert torch.equal(backbone(input_ids=ids, attention_mask=mask).logits[mask.bool()], plain)
    assert backbone.state_dict().keys() == held.keys()
    assert all(torch.equal(value, held[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", names.choices("projector"))
def test_every_projector_keeps_the_contract(name: str) -> None:
    torch.manual_seed(0)
    build = names.resolve("projector", name)
    assert list(inspect.signature(build).parameters) == ["width", "tokens", "dim", "norm"]
    projector = build(24, 3, 16, "rms")
    features = torch.randn(4, 5, 24)
    assert projector(features).shape == (4, 15, 16)  # five stretches of time, three tokens each
    projector.eval()
    torch.testing.assert_close(projector(features)[1:2], projector(features[1:2]))
    torch.testing.assert_close(projector(features).norm(dim=-1), torch.full((4, 15), 4.0))
    projector(features).sum().backward()
    assert all(parameter.grad is not None for parameter in projector.parameters())
